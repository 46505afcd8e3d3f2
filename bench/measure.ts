/** Side by side in one run: contenders take turns, and only the ratio of their medians is worth anything. */

/** Something to time. `run` does its work `rounds` times over and answers a checksum, so that nothing is optimized away. */
export interface Contender {
  readonly name: string
  /** Operations in one round. */
  readonly operations: number
  run(rounds: number): number | Promise<number>
}

/** Nanoseconds an operation took, each turn. */
export interface Timing {
  readonly name: string
  readonly medianNs: number
  readonly minNs: number
  readonly maxNs: number
}

/** Times contenders in turns. Each gets as many rounds as fill about `turnMs`. */
export async function race(contenders: readonly Contender[], turns: number, turnMs: number): Promise<Timing[]> {
  const rounds: number[] = []
  for (const contender of contenders) rounds.push(await calibrate(contender, turnMs))
  const samples: number[][] = contenders.map(() => [])
  for (let turn = 0; turn < turns; turn++) {
    for (const [i, contender] of contenders.entries()) {
      const ns = await time(contender, rounds[i])
      samples[i].push(ns / (rounds[i] * contender.operations))
    }
  }
  return contenders.map(({ name }, i) => {
    const sorted = [...samples[i]].sort((a, b) => a - b)
    return { name, medianNs: sorted[sorted.length >> 1], minNs: sorted[0], maxNs: sorted[sorted.length - 1] }
  })
}

async function calibrate(contender: Contender, turnMs: number): Promise<number> {
  let rounds = 1
  for (;;) {
    const ns = await time(contender, rounds)
    if (ns >= turnMs * 5e5) return Math.max(1, Math.round((rounds * turnMs * 1e6) / ns))
    rounds *= 2
  }
}

async function time(contender: Contender, rounds: number): Promise<number> {
  const began = process.hrtime.bigint()
  const sum = await contender.run(rounds)
  const ns = Number(process.hrtime.bigint() - began)
  if (!Number.isFinite(sum)) throw new Error(`${contender.name}: the checksum is no number`)
  return ns
}
