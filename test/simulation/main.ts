/**
 * `npm run sim -- SEED [--steps N | --translations N | --step N] [--arch smmuv3|vtd] [--json]`: random guests against the
 * slow references. With `--translations` it goes on until so many were compared.
 * Exit status 1 when unit and reference disagree, 2 when the arguments make no sense.
 */

import { parseArgs } from 'node:util'
import { ARCHITECTURES, type Architecture, type Plan, run } from './run.js'

const DEFAULT_STEPS = 500

/** Findings that are printed; the rest is only counted. */
const SHOWN = 10

/** Steps between two reports to something that is no terminal. */
const REPORTED = 2000

function planOf(argv: readonly string[]): Plan & { readonly json: boolean } {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      steps: { type: 'string' },
      step: { type: 'string' },
      translations: { type: 'string' },
      arch: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const number = (text: string, what: string): number => {
    const value = Number(text)
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${what} must be a whole number, not ${text}`)
    return value
  }
  const { arch } = values
  if (arch !== undefined && !ARCHITECTURES.some((known) => known === arch)) {
    throw new Error(`--arch must be ${ARCHITECTURES.join(' or ')}, not ${arch}`)
  }
  const from = values.step === undefined ? 0 : number(values.step, '--step')
  const accesses = values.translations === undefined ? 0 : number(values.translations, '--translations')
  const least = String(accesses > 0 ? 0 : DEFAULT_STEPS)
  const steps = values.step === undefined ? number(values.steps ?? least, '--steps') : 1
  return {
    seed: number(positionals[0] ?? '1', 'SEED'),
    architectures: arch === undefined ? ARCHITECTURES : [arch as Architecture],
    from,
    to: from + steps,
    accesses,
    json: values.json,
  }
}

function main(): number {
  let plan: ReturnType<typeof planOf>
  try {
    plan = planOf(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  const total = plan.to - plan.from
  const goal = plan.accesses ?? 0
  const isTerminal = process.stderr.isTTY
  let shown = 0
  const summary = run(
    plan,
    ({ arch, step, cached, what, command }) => {
      if (++shown > SHOWN) return
      process.stderr.write(
        `${isTerminal ? '\r' : ''}${arch} step ${step}, cache ${cached ? 'on' : 'off'}: ${what}\n    ${command}\n`,
      )
    },
    ({ steps, accesses, disagreements }) => {
      if (steps % (isTerminal ? 10 : REPORTED) !== 0) return
      const done = goal > 0 ? `${accesses}/${goal} translations` : `${steps}/${total} steps`
      process.stderr.write(`${isTerminal ? '\r' : ''}${done}, ${disagreements} disagreements${isTerminal ? '' : '\n'}`)
    },
  )
  if (isTerminal) process.stderr.write('\n')
  if (plan.json) process.stdout.write(`${JSON.stringify(summary)}\n`)
  else {
    const { steps, accesses, translated, blocked, hits, commands, disagreements } = summary
    const lines = `${steps} steps, ${accesses} accesses (${translated} translated, ${blocked} blocked, ${hits} cache hits)`
    process.stdout.write(`seed ${plan.seed}: ${lines}, ${commands} commands, ${disagreements} disagreements\n`)
  }
  return summary.disagreements === 0 ? 0 : 1
}

process.exitCode = main()
