/** QEMU's `q35` machine with a VT-d unit, four PCI functions behind it, and nothing else that matters. */

import type { IdRegisters } from '../../../hw-model/vtd/index.js'
import { type ConfigSpace, type DeviceKind, EDU, placeBar, TESTDEV } from '../devices.js'
import type { Qemu } from '../install.js'
import { Qtest } from '../qtest.js'
import { SharedFiles } from '../shared-ram.js'
import { RAM_BYTES } from './places.js'

/** Where the unit's registers stand. */
export const REGISTERS = 0xfed90000

const BARS = 0xc0000000

/** All on bus 0. Two stand in the upper half of a root entry of scalable mode. */
export interface Requester {
  readonly kind: DeviceKind
  readonly sid: number
}

/** Two that write and two that do both. */
export const REQUESTERS: readonly Requester[] = [
  { kind: TESTDEV, sid: 0x08 },
  { kind: EDU, sid: 0x10 },
  { kind: TESTDEV, sid: 0x88 },
  { kind: EDU, sid: 0x90 },
]

/** One way to start the unit; no single one offers everything. */
export interface Variant {
  readonly options: string
  /** Bits of a host address and of a guest address. */
  readonly bits: number
}

/** The machines, by name. */
export const VARIANTS = {
  LEGACY: { options: 'aw-bits=48', bits: 48 },
  NARROW: { options: 'aw-bits=39', bits: 39 },
  SECOND: { options: 'aw-bits=48,scalable-mode=on,snoop-control=on', bits: 48 },
  FIRST: { options: 'aw-bits=48,scalable-mode=on,fsts=on', bits: 48 },
  DEVICES: { options: 'aw-bits=48,device-iotlb=on,snoop-control=on', bits: 48 },
  SHARED: { options: 'aw-bits=48,scalable-mode=on,fsts=on,device-iotlb=on,svm=on,pasid-bits=20', bits: 48 },
  CACHING: { options: 'aw-bits=48,caching-mode=on,snoop-control=on', bits: 48 },
} as const satisfies Readonly<Record<string, Variant>>

/** Name of one of them. */
export type VariantName = keyof typeof VARIANTS

/** In the order in which the runner numbers them. */
export const VARIANT_NAMES = Object.keys(VARIANTS) as readonly VariantName[]

/** Reading the first fault record ends the lines of one DMA. */
const TRACED: readonly string[] = ['vtd_dmar_translate', 'vtd_dmar_fault', 'vtd_fault_disabled', 'vtd_reg_read']

/** What is left out of a PC, so that few devices stand in its memory. */
const BARE = 'smm=off,vmport=off,i8042=off,hpet=off,sata=off,smbus=off'

/** A running machine. */
export class VtdMachine {
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

  static async start(qemu: Qemu, { options, bits }: Variant): Promise<VtdMachine> {
    const files = new SharedFiles(RAM_BYTES)
    const qtest = new Qtest([...qemu.command('x86_64'), ...argumentsOf(files, options)], qemu.env)
    try {
      const bars: number[] = []
      let from = BARS
      for (const { kind, sid } of REQUESTERS) {
        const bar = await placeBar(configSpace(qtest), sid, from)
        await qtest.exchange(kind.prepare(bar))
        bars.push(bar)
        from = bar + 0x100000
      }
      const id = await readId(qtest, bits)
      files.unlink()
      files.newLog()
      return new VtdMachine(qtest, files, bars, id)
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

function argumentsOf({ ramPath, logPath }: SharedFiles, options: string): string[] {
  const memory = `memory-backend-file,id=ram0,size=${RAM_BYTES},mem-path=${ramPath},share=on`
  const words = ['-m', `${RAM_BYTES >> 20}M`, '-object', memory, '-machine', `q35,memory-backend=ram0,${BARE}`]
  words.push('-cpu', 'qemu64', '-vga', 'none', '-net', 'none', '-D', logPath)
  // The unit must come before what it translates for.
  words.push('-device', `intel-iommu,intremap=off,${options}`)
  for (const { kind, sid } of REQUESTERS) {
    words.push('-device', `${kind.option},bus=pcie.0,addr=${(sid >> 3).toString(16)}.0`)
  }
  for (const event of TRACED) words.push('-trace', event)
  return words
}

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`

/** Configuration space through the two ports that every PC has. */
function configSpace(qtest: Qtest): ConfigSpace {
  const select = (bdf: number, offset: number): string => `outl 0xcf8 ${hex(0x80000000 + bdf * 256 + offset)}`
  return {
    read: async (bdf, offset) => Number((await qtest.exchange([select(bdf, offset), 'inl 0xcfc']))[1]),
    write: async (bdf, offset, value) => {
      await qtest.exchange([select(bdf, offset), `outl 0xcfc ${hex(value)}`])
    },
  }
}

/** The capabilities, so that our unit can be the same part. No register tells the host address width. */
async function readId(qtest: Qtest, hawBits: number): Promise<IdRegisters> {
  const answers = await qtest.exchange([0x00, 0x08, 0x0c, 0x10, 0x14].map((at) => `readl ${hex(REGISTERS + at)}`))
  const [VER, ...words] = answers.map((text) => Number(text) | 0)
  return { VER, CAP: [words[0], words[1]], ECAP: [words[2], words[3]], hawBits }
}
