/**
 * `npm run mutate -- [--arch smmuv3|vtd] [--mutations N] [--seed S] [--json]`: bytes of tables, commands and registers changed at random.
 * Exit status 1 when a call took too long or the process grew, 2 when the arguments make no sense; whatever the unit
 * throws ends the run with its stack.
 */

import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { judge } from './judge.js'
import { ARCHITECTURES, type Architecture, run } from './run.js'

const DEFAULT_MUTATIONS = '1000000'

function numberOf(text: string, what: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${what} must be a whole number, not ${text}`)
  return value
}

function architectureOf(text: string): Architecture {
  const arch = ARCHITECTURES.find((known) => known === text)
  if (arch === undefined) throw new Error(`--arch must be ${ARCHITECTURES.join(' or ')}, not ${text}`)
  return arch
}

function main(): number {
  let arch: Architecture
  let mutations: number
  let seed: number
  let json: boolean
  try {
    const { values } = parseArgs({
      options: {
        arch: { type: 'string', default: 'smmuv3' },
        mutations: { type: 'string', default: DEFAULT_MUTATIONS },
        seed: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
      },
    })
    arch = architectureOf(values.arch)
    mutations = numberOf(values.mutations, '--mutations')
    seed = numberOf(values.seed, '--seed')
    json = values.json
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  setFlagsFromString('--expose-gc')
  Object.assign(globalThis, { gc: runInNewContext('gc') as () => void })
  const startedAt = performance.now()
  const summary = run(arch, seed, mutations, (done) => {
    const seconds = Math.round((performance.now() - startedAt) / 1000)
    process.stderr.write(`${process.stderr.isTTY ? '\r' : ''}${done}/${mutations} mutations, ${seconds} s`)
    process.stderr.write(process.stderr.isTTY ? '' : '\n')
  })
  if (process.stderr.isTTY) process.stderr.write('\n')
  const complaints = judge(summary)
  if (json) process.stdout.write(`${JSON.stringify({ ...summary, complaints })}\n`)
  else {
    process.stdout.write(
      `${arch}, seed ${seed}: ${mutations} mutations (${summary.tableBytes} table bytes, ${summary.commands} commands, ` +
        `${summary.registerWrites} register writes), ${summary.translations} accesses of which ` +
        `${summary.translated} were translated; slowest call ${summary.slowestMs.toFixed(1)} ms, ` +
        `grown by ${(summary.grownBytes / 2 ** 20).toFixed(1)} MiB\n` +
        `outcomes: ${summary.outcomes.join(', ')}\nfaults: ${summary.faults.join(', ')}\n`,
    )
    for (const complaint of complaints) process.stderr.write(`${complaint}\n`)
  }
  return complaints.length === 0 ? 0 : 1
}

process.exitCode = main()
