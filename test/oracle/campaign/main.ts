/**
 * `node dist/test/oracle/campaign/main.js [SEED] [--mutants N] [--arch smmuv3|vtd] [--from STEP] [--step STEP] [--json]`.
 * Exit status 1 where the oracle was wrong about more than one in a hundred, missed one, or accused a proper guest; 2 when
 * the arguments make no sense.
 */

import { parseArgs } from 'node:util'
import { ARCHITECTURES, type Architecture } from '../../simulation/run.js'
import { emptyCounts, tryStep } from './run.js'

/** Failures that are printed; the rest is only counted. */
const SHOWN = 20

/** Steps between two reports to something that is no terminal. */
const REPORTED = 200

function numberOf(text: string, what: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${what} must be a whole number, not ${text}`)
  return value
}

function main(): number {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      mutants: { type: 'string', default: '2000' },
      arch: { type: 'string' },
      from: { type: 'string', default: '0' },
      step: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  })
  const seed = numberOf(positionals[0] ?? '1', 'SEED')
  const goal = numberOf(values.mutants, '--mutants')
  const { arch: only } = values
  if (only !== undefined && !ARCHITECTURES.some((known) => known === only)) {
    throw new Error(`--arch must be ${ARCHITECTURES.join(' or ')}, not ${only}`)
  }
  const architectures = only === undefined ? ARCHITECTURES : [only as Architecture]
  const counts = emptyCounts(seed)
  let shown = 0
  let failures = 0
  const first = numberOf(values.step ?? values.from, '--step or --from')
  const last = values.step === undefined ? Number.POSITIVE_INFINITY : first
  for (let step = first; step <= last && counts.mutants < goal; step++) {
    for (const arch of architectures) {
      tryStep(arch, seed, step, counts, ({ number, mistake, what }) => {
        failures++
        if (++shown <= SHOWN) process.stderr.write(`${arch} step ${step}, command ${number} ${mistake}: ${what}\n`)
      })
    }
    if ((step - first) % (process.stderr.isTTY ? 5 : REPORTED) === 0) {
      const { mutants, reached, right } = counts
      process.stderr.write(`${mutants}/${goal} mutants, ${reached} reached, ${right} right, ${failures} failures\n`)
    }
  }
  const { mutants, reached, reported, right, beyond, accesses } = counts
  if (values.json) process.stdout.write(`${JSON.stringify(counts)}\n`)
  else {
    process.stdout.write(
      `seed ${seed}: ${mutants} mutants, ${reached} reached by DMA, ${reported} reported, ${right} with the right command; ` +
        `${beyond} more reported; ${counts.false} false reports in ${accesses} accesses of proper guests\n`,
    )
  }
  return counts.false === 0 && reported === reached && right >= reached * 0.99 ? 0 : 1
}

try {
  process.exitCode = main()
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exitCode = 2
}
