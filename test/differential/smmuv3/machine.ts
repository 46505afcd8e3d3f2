/** QEMU's `virt` machine with an SMMUv3 of both stages, four PCI functions behind it, and nothing else that matters. */

import type { IdRegisters } from '../../../hw-model/smmuv3/index.js'
import { type ConfigSpace, type DeviceKind, EDU, placeBar, TESTDEV } from '../devices.js'
import type { Qemu } from '../install.js'
import { Qtest } from '../qtest.js'
import { SharedFiles } from '../shared-ram.js'
import { RAM_BYTES } from './ram.js'

/** Where the unit's registers stand. */
export const REGISTERS = 0x09050000

const ECAM = 0x3f000000
/** BARs stand high in the window, where no table of a generated configuration points to. */
const BARS = 0x3e000000

/** Bus 0 for all: the StreamID of a function is its slot * 8. */
export interface Requester {
  readonly kind: DeviceKind
  readonly sid: number
}

/** Two that write and two that do both, far enough apart to need two leaves of a two-level stream table. */
export const REQUESTERS: readonly Requester[] = [
  { kind: TESTDEV, sid: 8 },
  { kind: EDU, sid: 16 },
  { kind: TESTDEV, sid: 72 },
  { kind: EDU, sid: 80 },
]

/** What QEMU tells of each translation; reading the event queue's index ends the lines of one DMA. */
const TRACED = ['success', 'bypass', 'disable'].map((way) => `smmuv3_translate_${way}`)
export const TRACE_EVENTS: readonly string[] = [...TRACED, 'smmuv3_read_mmio']

/** A running machine. */
export class SmmuMachine {
  readonly qtest: Qtest
  readonly files: SharedFiles
  /** Base addresses of the requesters' registers. */
  readonly bars: readonly number[]
  readonly id: IdRegisters

  private constructor(qtest: Qtest, files: SharedFiles, bars: readonly number[], id: IdRegisters) {
    this.qtest = qtest
    this.files = files
    this.bars = bars
    this.id = id
  }

  static async start(qemu: Qemu): Promise<SmmuMachine> {
    const files = new SharedFiles(RAM_BYTES)
    const memory = `memory-backend-file,id=ram0,size=${RAM_BYTES},mem-path=${files.ramPath},share=on`
    const machine = 'virt,gic-version=3,highmem-ecam=off,highmem-mmio=off,memory-backend=ram0,iommu=smmuv3'
    const words = [
      '-m',
      `${RAM_BYTES >> 20}M`,
      '-object',
      memory,
      '-machine',
      machine,
      '-cpu',
      'max',
      '-D',
      files.logPath,
    ]
    for (const { kind, sid } of REQUESTERS)
      words.push('-device', `${kind.option},bus=pcie.0,addr=${(sid >> 3).toString(16)}.0`)
    for (const event of TRACE_EVENTS) words.push('-trace', event)
    const qtest = new Qtest([...qemu.command('aarch64'), ...words], qemu.env)
    try {
      const bars: number[] = []
      let from = BARS
      for (const { kind, sid } of REQUESTERS) {
        const bar = await placeBar(configSpace(qtest), sid, from)
        await qtest.exchange(kind.prepare(bar))
        bars.push(bar)
        from = bar + 0x100000
      }
      const id = await readId(qtest)
      files.unlink()
      // The machine leaves a device tree in its memory.
      files.ram.fill(0)
      return new SmmuMachine(qtest, files, bars, id)
    } catch (error) {
      await qtest.close()
      files.close()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.qtest.close()
    this.files.close()
  }
}

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

/** The machine maps all of configuration space into memory. */
function configSpace(qtest: Qtest): ConfigSpace {
  const at = (bdf: number, offset: number): string => hex(ECAM + bdf * 4096 + offset)
  return {
    read: async (bdf, offset) => Number((await qtest.exchange([`readl ${at(bdf, offset)}`]))[0]),
    write: async (bdf, offset, value) => {
      await qtest.exchange([`writel ${at(bdf, offset)} ${hex(value)}`])
    },
  }
}

/** The ID registers, so that our unit can be the same part. */
async function readId(qtest: Qtest): Promise<IdRegisters> {
  const answers = await qtest.exchange([0, 1, 2, 3, 4, 5, 6, 7].map((i) => `readl ${hex(REGISTERS + 4 * i)}`))
  const [IDR0, IDR1, IDR2, IDR3, IDR4, IDR5, IIDR, AIDR] = answers.map((text) => Number(text) | 0)
  return { IDR0, IDR1, IDR2, IDR3, IDR4, IDR5, IIDR, AIDR }
}
