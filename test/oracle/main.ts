/**
 * `npm run test:oracle [-- --seed N] [--mutants N] [--steps N] [--json]`: the whole of the oracle's proof, on all cores. It
 * accuses nobody who has forgotten nothing: the real guests' whole traces, which IOMMUD_CAPTURES names, and ten million DMAs
 * of random guests. It finds what was forgotten: 100,000 mutants, with the right command in 99 of 100.
 * Exit status 1 when one of these does not hold, 2 when something that it takes is missing.
 */

import { fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { wholeCaptures } from '../fixtures/traces.js'
import { ARCHITECTURES } from '../simulation/run.js'
import { add, type Done, type Job, nothingDone, slices, wholeTraces } from './jobs.js'

/** Machines of one job: some seconds of work. */
const STEPS_PER_JOB = 100

/** Of reached mutants, those with the right command at least. */
const RIGHT = 0.99

/** What is printed of what is wrong; the rest is only counted. */
const SHOWN = 20

const REPORTED_MS = 10_000

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      mutants: { type: 'string', default: '100000' },
      steps: { type: 'string', default: '10000000' },
      json: { type: 'boolean', default: false },
    },
  })
  const [seed, mutants, accesses] = (['seed', 'mutants', 'steps'] as const).map((name) => numberOf(values[name], name))
  const captures = wholeCaptures()
  if (captures === undefined || !existsSync(join(captures, 'A/trace.jsonl.gz'))) {
    process.stderr.write(
      'IOMMUD_CAPTURES must name a folder with the whole traces: A/trace.jsonl.gz, F/trace.jsonl.gz\n',
    )
    return 2
  }
  const sum = nothingDone()
  await workThrough([...slices(), ...wholeTraces(captures)].values(), sum, () => false)
  const traced = sum.accesses
  await workThrough(jobs('proper', seed), sum, () => sum.accesses - traced >= accesses)
  await workThrough(jobs('mutants', seed), sum, () => sum.mutants.mutants >= mutants)
  return tell(sum, traced, values.json)
}

function numberOf(text: string, name: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} must be a whole number, not ${text}`)
  return value
}

/** Machine after machine, of either architecture in turn. */
function* jobs(kind: 'proper' | 'mutants', seed: number): IterableIterator<Job> {
  for (let from = 0; ; from += STEPS_PER_JOB) {
    for (const arch of ARCHITECTURES) yield { kind, arch, seed, from, to: from + STEPS_PER_JOB }
  }
}

/** Gives jobs to as many processes as there are cores, until there is no other or enough is done. */
async function workThrough(list: Iterator<Job>, sum: Done, isEnough: () => boolean): Promise<void> {
  let toldAt = Date.now()
  const work = async (): Promise<void> => {
    const worker = fork(join(import.meta.dirname, 'worker.js'))
    try {
      for (let next = list.next(); !next.done && !isEnough(); next = list.next()) {
        add(sum, await ask(worker, next.value))
        if (Date.now() - toldAt < REPORTED_MS) continue
        toldAt = Date.now()
        const { mutants, reached, right } = sum.mutants
        const wrong = sum.accused.length + sum.failures.length
        process.stderr.write(
          `${sum.accesses} DMAs of proper guests, ${mutants} mutants, ${reached} reached, ${right} right, ${wrong} wrong\n`,
        )
      }
    } finally {
      worker.kill()
    }
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
}

function ask(worker: ReturnType<typeof fork>, job: Job): Promise<Done> {
  return new Promise((resolve, reject) => {
    const died = (code: number | null): void =>
      reject(new Error(`the process of ${JSON.stringify(job)} ended: ${code}`))
    worker.once('exit', died)
    worker.once('message', (done) => {
      worker.off('exit', died)
      resolve(done as Done)
    })
    worker.send(job)
  })
}

function tell(sum: Done, traced: number, json: boolean): number {
  const { accused, failures, mutants } = sum
  for (const what of [...accused, ...failures].slice(0, SHOWN)) process.stderr.write(`${what}\n`)
  const { reached, reported, right, beyond } = mutants
  const isGood = accused.length === 0 && reached > 0 && reported === reached && right >= reached * RIGHT
  if (json) process.stdout.write(`${JSON.stringify({ ...sum, traced })}\n`)
  else {
    process.stdout.write(
      `${traced} DMAs of real guests' traces and ${sum.accesses - traced} of random guests that forget nothing: ` +
        `${accused.length} reports\n` +
        `${mutants.mutants} mutants: ${reached} reached by a DMA, ${reported} of them reported, ` +
        `${right} with the right command; ${beyond} more reported\n`,
    )
  }
  return isGood ? 0 : 1
}

main().then(
  (status) => {
    process.exitCode = status
  },
  (error: unknown) => {
    process.stderr.write(`${(error as Error).message}\n`)
    process.exitCode = 2
  },
)
