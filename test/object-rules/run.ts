/** Plays random calls to core and to the rules, side by side. */

import { Core, type Context as CoreContext, HANDLERS, Refusal } from '../../server/core/index.js'
import type { Machine } from '../../server/core/machine.js'
import { createMachine } from '../../server/drivers/machine.js'
import type { PlatformSpec } from '../../server/drivers/platform.js'
import type { VtdDriver } from '../../server/drivers/vtd/driver.js'
import { StillClock } from '../core/world.js'
import { Rng } from '../simulation/rng.js'
import { REGION_BYTES } from './attach-rules.js'
import { Context, type DeviceFacts, No, type UnitFacts } from './model.js'
import { RULES, type World } from './rules.js'
import { type Step, Story } from './story.js'

/** What a run found. */
export interface Summary {
  calls: number
  refused: number
  disagreements: number
  contextsEnded: number
  /** By method: all, and those that succeeded. */
  readonly byMethod: Map<string, { all: number; done: number }>
}

const DEVICE = { ats: false, pri: false }

/** Two units of each kind: what is refused across units needs a second one. */
const PLATFORM: PlatformSpec = {
  units: [
    { name: 'smmu0', type: 'smmuv3' },
    { name: 'smmu1', type: 'smmuv3' },
    { name: 'vtd0', type: 'vtd' },
    { name: 'vtd1', type: 'vtd' },
  ],
  devices: [
    { name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 20, ...DEVICE },
    { name: '0000:00:02.0', iommu: 'smmu0', pasidBits: 20, ...DEVICE },
    { name: '0000:00:03.0', iommu: 'smmu0', pasidBits: 0, ...DEVICE },
    { name: 'mdev0', iommu: 'smmu0', pasidBits: 0, ...DEVICE, mediated: { parent: '0000:00:02.0', pasid: 7 } },
    { name: '0000:01:01.0', iommu: 'smmu1', pasidBits: 4, ...DEVICE },
    { name: '0000:02:01.0', iommu: 'vtd0', pasidBits: 20, ...DEVICE },
    { name: '0000:02:02.0', iommu: 'vtd0', pasidBits: 20, ...DEVICE },
    { name: '0000:02:03.0', iommu: 'vtd0', pasidBits: 0, ...DEVICE },
    { name: 'mdev1', iommu: 'vtd0', pasidBits: 0, ...DEVICE, mediated: { parent: '0000:02:02.0', pasid: 7 } },
    { name: '0000:03:01.0', iommu: 'vtd1', pasidBits: 4, ...DEVICE },
  ],
}

/** Bits of physical addresses by IDR5.OAS. [SMMU 6.3.6 SMMU_IDR5] */
const OAS_BITS = [32, 36, 40, 42, 44, 48]

const CONTEXTS = 3

/** Tables of PASIDs stay with their device once they were needed: a few dozen pages, however many calls there are. */
export const STAYS_BYTES = 256 * 1024

/** One seed's run. */
export class Run {
  readonly summary: Summary = { calls: 0, refused: 0, disagreements: 0, contextsEnded: 0, byMethod: new Map() }
  readonly #machine: Machine
  readonly #core: Core
  readonly #world: World
  readonly #story: Story
  readonly #rng: Rng
  readonly #tokens: string[] = []
  readonly #peer = { uid: 0 }
  readonly #tell: (what: string) => void

  constructor(seed: number, tell: (what: string) => void) {
    const random = new Rng(seed, 1)
    this.#tell = tell
    this.#machine = createMachine({
      platform: PLATFORM,
      files: {
        roots: [],
        map: () => {
          throw new Error('no files')
        },
      },
    })
    this.#core = new Core({
      machine: this.#machine,
      clock: new StillClock(),
      random: { bytes: (count) => Uint8Array.from({ length: count }, () => random.int(256)) },
    })
    this.#rng = new Rng(seed, 2)
    const devices = this.#machine.devices.map((device) => factsOf(this.#machine, device))
    this.#world = { contexts: [], devices }
    this.#story = new Story(new Rng(seed, 3), this.#world)
    for (let at = 0; at < CONTEXTS; at++) this.#open(at)
  }

  /** Makes so many calls. */
  go(calls: number): void {
    for (let done = 0; done < calls; done++) {
      const at = this.#rng.int(CONTEXTS)
      const roll = this.#rng.int(4000)
      if (roll === 0) this.#reopen(at)
      else this.#play(at, this.#story.next(this.#world.contexts[at]))
      if (roll < 100) this.#compareObjects(at)
    }
  }

  /** Ends every context, and opens new ones. Answers what the drivers' tables hold then: what is left behind. */
  endAll(): number {
    for (let at = 0; at < CONTEXTS; at++) this.#end(at)
    if (this.#core.bound.size > 0) this.#differs('a device is bound when every context has ended')
    const left = this.#driverBytes()
    for (let at = 0; at < CONTEXTS; at++) this.#open(at)
    return left
  }

  #driverBytes(): number {
    const vtd = this.#machine.units.find(({ driver }) => driver.kind === 'vtd')?.driver as unknown as VtdDriver
    return vtd.ram.usedBytes
  }

  #open(at: number): void {
    const opened = this.#core.run(this.#peer, undefined, HANDLERS.OpenContext, { lifetime: 3, leaseMs: 0, label: '' })
    const token = (opened as { context: string }).context
    this.#tokens[at] = token
    this.#world.contexts[at] = new Context()
    const anonymous = { bytes: REGION_BYTES }
    this.#core.call(this.#peer, HANDLERS.CreateMemoryRegion, { context: token, anonymous, label: '' })
  }

  /** The end of a client: everything goes. */
  #reopen(at: number): void {
    this.#end(at)
    this.#open(at)
  }

  #end(at: number): void {
    const context: CoreContext = this.#core.contextOf(this.#tokens[at], this.#peer)
    if (context.end('closed') !== undefined) this.#differs('the end of a context waits')
    this.summary.contextsEnded++
  }

  #play(at: number, { method, request }: Step): void {
    const { summary } = this
    const counts = summary.byMethod.get(method) ?? { all: 0, done: 0 }
    summary.byMethod.set(method, counts)
    summary.calls++
    counts.all++
    const expected = this.#expected(at, method, request)
    const answered = this.#answered(at, method, request)
    if (typeof expected === 'string') summary.refused++
    else counts.done++
    const same = textOf(expected) === textOf(answered)
    if (same) return
    this.#differs(`${method} ${textOf(request)} in context ${at}: rules ${textOf(expected)}, core ${textOf(answered)}`)
  }

  #expected(at: number, method: string, request: object): object | string {
    try {
      return RULES[method](this.#world.contexts[at], request as never, this.#world)
    } catch (error) {
      if (error instanceof No) return error.errno
      throw error
    }
  }

  #answered(at: number, method: string, request: object): object | string {
    try {
      const handler = HANDLERS[method as keyof typeof HANDLERS]
      const reply: unknown = this.#core.call(
        this.#peer,
        handler as never,
        { ...request, context: this.#tokens[at] } as never,
      )
      if (reply instanceof Promise) return 'a promise'
      const { refusal, hitless: _, ...rest } = reply as { refusal?: { name: string }; hitless?: boolean }
      return refusal === undefined ? rest : refusal.name
    } catch (error) {
      if (error instanceof Refusal) return error.name
      return `bug: ${(error as Error).stack}`
    }
  }

  /** Ids and users, of everything there is. */
  #compareObjects(at: number): void {
    const ctx = this.#world.contexts[at]
    const rules = [...ctx.things.values()]
      .sort((a, b) => a.id - b.id)
      .map((thing) => `${thing.id} ${KINDS[thing.kind]} ${ctx.users(thing)}`)
    const request = { context: this.#tokens[at], type: 0, startId: 0, maxObjects: 0 }
    const list = this.#core.call(this.#peer, HANDLERS.ListObjects, request) as {
      objects: readonly { id: number; type: number; users: number }[]
    }
    const core = list.objects.map(({ id, type, users }) => `${id} ${type} ${users}`)
    if (rules.join() !== core.join()) this.#differs(`objects of context ${at}: rules ${rules}, core ${core}`)
  }

  #differs(what: string): void {
    this.summary.disagreements++
    this.#tell(`call ${this.summary.calls}: ${what}`)
  }
}

/** The contract's ObjectType. */
const KINDS = {
  ioas: 1,
  paging: 2,
  user: 3,
  device: 4,
  viommu: 5,
  vdevice: 6,
  veventq: 7,
  fault: 8,
  window: 11,
} as const

function factsOf(machine: Machine, { name, driver, device, mediated }: Machine['devices'][number]): DeviceFacts {
  const { idRegisters } = machine.units.find((unit) => unit.driver === driver)!
  const isSmmu = driver.kind === 'smmuv3'
  const top = (bits: number) => ({ start: 0n, last: 2n ** BigInt(bits) - 1n })
  const unit: UnitFacts = {
    name: driver.name,
    kind: isSmmu ? 'smmuv3' : 'vtd',
    msi: isSmmu ? { start: 0x0800_0000n, last: 0x080f_ffffn } : { start: 0xfee0_0000n, last: 0xfeef_ffffn },
    first: top(isSmmu ? 48 : 47),
    second: top(isSmmu ? OAS_BITS[Number((idRegisters.get('IDR5') ?? 0n) & 7n)] : 48),
    tracksDirty: (device.capabilities & 1) !== 0,
  }
  const known = UNITS.get(driver) ?? unit
  UNITS.set(driver, known)
  return { name, unit: known, maxPasids: device.maxPasids, mediated }
}

/** Devices of one unit share its facts. */
const UNITS = new WeakMap<object, UnitFacts>()

const textOf = (value: unknown): string =>
  typeof value === 'string'
    ? value
    : JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? `0x${part.toString(16)}` : part))
