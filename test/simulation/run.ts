/** Plays steps of a simulation, each with the cache on and off. A step is made from its seed and its number alone. */

import { stepSmmuv3 } from './guest-smmuv3.js'
import { stepVtd } from './guest-vtd.js'
import { Rng } from './rng.js'
import type { Step } from './step.js'

/** The architectures that have a guest. */
export const ARCHITECTURES = ['smmuv3', 'vtd'] as const

/** One of them. */
export type Architecture = (typeof ARCHITECTURES)[number]

const STEPS: Readonly<Record<Architecture, Step>> = { smmuv3: stepSmmuv3, vtd: stepVtd }

/** A step on which unit and reference disagree. */
export interface Finding {
  readonly arch: Architecture
  readonly step: number
  readonly cached: boolean
  readonly what: string
  /** Plays just this step again. */
  readonly command: string
}

/** What was played. */
export interface Summary {
  readonly seed: number
  steps: number
  accesses: number
  translated: number
  blocked: number
  hits: number
  commands: number
  disagreements: number
  /** Accesses by what they had to do with, where a guest counts that. */
  readonly mix: Record<string, number>
}

/** What to play. */
export interface Plan {
  readonly seed: number
  readonly architectures: readonly Architecture[]
  /** Number of the first step, and of the step after the last one. */
  readonly from: number
  readonly to: number
  /** Goes on beyond `to` until so many accesses were compared. */
  readonly accesses?: number
}

/** Of nothing yet. */
export const emptySummary = (seed: number): Summary => {
  const counts = { steps: 0, accesses: 0, translated: 0, blocked: 0, hits: 0, commands: 0, disagreements: 0 }
  return { seed, ...counts, mix: {} }
}

/** Plays the plan; findings and progress are told as they come. What is counted is added to `summary`. */
export function run(
  { seed, architectures, from, to, accesses = 0 }: Plan,
  onFinding: (finding: Finding) => void,
  onStep: (summary: Summary) => void = () => {},
  summary = emptySummary(seed),
): Summary {
  for (let step = from; step < to || summary.accesses < accesses; step++) {
    for (const arch of architectures) {
      for (const cached of [false, true]) {
        const report = STEPS[arch](new Rng(seed, step, ARCHITECTURES.indexOf(arch)), { cached })
        summary.accesses += report.accesses
        summary.translated += report.translated
        summary.blocked += report.blocked
        summary.hits += report.hits
        summary.commands += report.commands
        for (const [name, count] of Object.entries(report.mix ?? {})) {
          summary.mix[name] = (summary.mix[name] ?? 0) + count
        }
        if (report.disagreement === undefined) continue
        summary.disagreements++
        const command = `npm run sim -- ${seed} --arch ${arch} --step ${step}`
        onFinding({ arch, step, cached, what: report.disagreement, command })
      }
    }
    summary.steps++
    onStep(summary)
  }
  return summary
}
