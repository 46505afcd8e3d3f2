/** What Explain says of a walk, in a form that tests can name. */

import type { ExplainResponse } from '../../clients/node/index.js'
import type { Vmm } from './world.js'

type Explanation = NonNullable<ExplainResponse['explanation']>
type WalkStep = Explanation['steps'][number]

/** AddressSpace of a step whose place is an IPA. */
export const IPA = 2

/** One walk, dry. */
export class Explained {
  readonly steps: readonly WalkStep[]
  readonly fresh: Explanation['fresh']

  private constructor({ steps, fresh }: Explanation) {
    this.steps = steps
    this.fresh = fresh
  }

  static async of(vmm: Vmm, deviceId: number, iova: bigint, pasid?: number): Promise<Explained> {
    const { explanation } = await vmm.client.explain({ deviceId, iova, pasid, access: 1 })
    if (explanation === undefined) throw new Error('an explanation was asked for')
    return new Explained(explanation)
  }

  /** The last step of a structure; it must be there. */
  step(structure: string): WalkStep {
    const step = this.steps.findLast((each) => each.structure === structure)
    if (step === undefined) throw new Error(`no ${structure} in ${this.steps.map((each) => each.structure)}`)
    return step
  }

  /** A field of a structure, in the manual's number. */
  field(structure: string, name: string): bigint {
    const field = this.step(structure).fields.find((each) => each.name === name)
    if (field === undefined) throw new Error(`${structure} shows no ${name}`)
    return field.value
  }

  /** The same in words. */
  text(structure: string, name: string): string | undefined {
    return this.step(structure).fields.find((each) => each.name === name)?.text
  }

  /** Several fields of a structure. */
  fields(structure: string, ...names: string[]): Record<string, bigint> {
    return Object.fromEntries(names.map((name) => [name, this.field(structure, name)]))
  }

  /** Steps in tables of a stage. */
  inStage(stage: number): readonly WalkStep[] {
    return this.steps.filter((each) => each.stage === stage)
  }
}
