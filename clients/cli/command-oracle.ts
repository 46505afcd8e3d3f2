/** `iommuctl oracle`: switches the oracle, asks it, and follows what it finds. */

import type { Command } from 'commander'
import { encodeJson } from '../../proto/codec.js'
import { type OracleMode, type StaleTranslation, watchStale } from '../node/index.js'
import type { SetExit } from './command-verb.js'
import { EXIT } from './failure.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import type { Io } from './io.js'
import { namesOf } from './names.js'
import { renderStale } from './render-stale.js'
import { pairs } from './table.js'
import { namedValue, numberOf, type ToolRun, type UnitTool, unitTools } from './unit-option.js'

const DESCRIPTION =
  'The invalidation oracle: compares what caches answer with what the tables say, and names the command that was forgotten.'

const mode: UnitTool = {
  name: 'mode',
  description: 'Tells the oracle’s mode and what it has counted, or sets it: off, report, fail.',
  options: (command) => {
    command.argument('[mode]', 'off, report or fail')
    command.option('--grace-syncs <n>', 'SYNCs that may complete after a change before it counts')
  },
  run: async (client, unit, { io, isJson, options, words: [name] }) => {
    if (name !== undefined) {
      await client.setOracleMode({
        ...unit,
        mode: namedValue('OracleMode', 'mode', name) as OracleMode,
        graceSyncs: numberOf('grace-syncs', options['graceSyncs'], 0),
      })
    }
    const reply = await client.listStaleTranslations({ ...unit, maxReports: 1 })
    const { counts, graceSyncs } = reply
    if (isJson) io.out(encodeJson('ListStaleTranslationsResponse', { ...reply, stale: [] } as never))
    else {
      const told = Object.entries(counts ?? {}).map(([key, value]) => [kebab(key), String(value)] as const)
      const names = namesOf('OracleMode').map((one) => one.toLowerCase())
      for (const line of pairs([['mode', names[reply.mode - 1]], ['grace-syncs', String(graceSyncs)], ...told]))
        io.out(line)
    }
    return EXIT.DONE
  },
}

const check: UnitTool = {
  name: 'check',
  description: 'Compares everything that is cached with the tables, now. Exit status 1 when something is stale.',
  run: async (client, unit, { io, isJson }) => {
    const reply = await client.checkStale(unit)
    if (isJson) io.out(encodeJson('CheckStaleResponse', reply))
    else {
      for (const report of reply.stale) for (const line of renderStale(report)) io.out(line)
      io.out(`${reply.checkedCount} compared, ${reply.stale.length === 0 ? 'none' : reply.stale.length} stale`)
    }
    return reply.stale.length === 0 ? EXIT.DONE : EXIT.REFUSED
  },
}

const watch: UnitTool = {
  name: 'watch',
  description: 'Prints every report, those that are there first, and follows until Ctrl-C; with --json one line each.',
  options: (command) => {
    command.option('--count <n>', 'end after so many reports')
    command.option('--poll-ms <ms>', 'milliseconds between two looks')
  },
  run: async (client, unit, tool) => {
    const most = numberOf('count', tool.options['count'], 0) || Number.POSITIVE_INFINITY
    const pollMs = numberOf('poll-ms', tool.options['pollMs'], 250)
    const stop = new AbortController()
    const follow = async (): Promise<number> => {
      let count = 0
      for await (const report of watchStale(client, unit, { pollMs, signal: stop.signal })) {
        printOne(report, tool, count)
        if (++count >= most) break
      }
      return EXIT.DONE
    }
    try {
      return await untilInterrupted((interrupted) => Promise.race([follow(), interrupted]))
    } catch (error) {
      if (error instanceof Interrupted) return error.exit
      throw error
    } finally {
      stop.abort()
    }
  },
}

function printOne(report: StaleTranslation, { io, isJson }: ToolRun, before: number): void {
  const between = before > 0 ? [''] : []
  for (const line of isJson ? [encodeJson('StaleTranslation', report)] : [...between, ...renderStale(report)])
    io.out(line)
}

const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** The command. */
export const oracleCommand = (io: Io, setExit: SetExit): Command =>
  unitTools('oracle', DESCRIPTION, [mode, check, watch], io, setExit)
