/** `iommuctl cache`: what the caches of a unit hold and have done, and how they keep entries. */

import type { Command } from 'commander'
import { encodeJson } from '../../proto/codec.js'
import type { CachePolicy } from '../node/index.js'
import type { SetExit } from './command-verb.js'
import { EXIT } from './failure.js'
import type { Io } from './io.js'
import { nameOfValue } from './names.js'
import { table } from './table.js'
import { namedValue, numberOf, type UnitTool, unitTools } from './unit-option.js'

const TITLES = ['cache', 'entries', 'capacity', 'hits', 'misses', 'fills', 'evictions', 'invalidated'] as const

const stats: UnitTool = {
  name: 'stats',
  description: 'Entries, hits and misses of each cache, since the unit was made or its policy was set.',
  run: async (client, unit, { io, isJson }) => {
    const reply = await client.getCacheStats(unit)
    if (isJson) io.out(encodeJson('GetCacheStatsResponse', reply))
    else {
      io.out(`policy  ${reply.policy === 0 ? 'the platform’s sizes' : nameOfValue('CachePolicy', reply.policy)}`)
      const rows = reply.caches.map((cache) => TITLES.map((title) => String(cache[title as keyof typeof cache] ?? '')))
      for (const line of table(TITLES, rows)) io.out(line)
    }
    return EXIT.DONE
  },
}

const policy: UnitTool = {
  name: 'policy',
  description: 'Sets how caches keep entries, and empties them: off, minimal, hardware, greedy, random.',
  options: (command) => {
    command.argument('<policy>', 'off, minimal, hardware, greedy or random')
    command.option('--seed <n>', 'random: where the lots start')
  },
  run: async (client, unit, { io, isJson, options, words: [name] }) => {
    const reply = await client.setCachePolicy({
      ...unit,
      policy: namedValue('CachePolicy', 'policy', name) as CachePolicy,
      seed: numberOf('seed', options['seed'], 0),
    })
    io.out(isJson ? encodeJson('SetCachePolicyResponse', reply) : 'done')
    return EXIT.DONE
  },
}

/** The command. */
export const cacheCommand = (io: Io, setExit: SetExit): Command =>
  unitTools('cache', 'The caches of a unit.', [stats, policy], io, setExit)
