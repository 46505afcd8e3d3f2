import { describe, expect, it } from 'vitest'
import { CONFIG, type IdOverrides, idRegisters, OFFSET } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1, S2, stageTwoFields } from './bench.js'

const VA = 0x10000000n
/** VMIDs of streams 0 to 5 on stage 1; those of 8 to 13 on stage 2 are the same. */
const VMIDS = [0x20, 0x21, 0x23, 0x27, 0x2f, 0x30] as const

/** CR0: SMMUEN, EVENTQEN, CMDQEN, and VMW in bits [8:6]. [SMMU 6.3.9 SMMU_CR0] */
const cr0 = (vmw: number): number => 0b1101 | (vmw << 6)

function planted(vmw: number, id: IdOverrides = {}): Bench {
  const bench = new Bench({ preset: 'full', id })
  bench.write(OFFSET.CR0, cr0(vmw))
  const roots = VMIDS.flatMap((vmid, sid) => {
    const [root, cd, second] = [bench.alloc(), bench.alloc(), bench.alloc()]
    bench.map(root, VA, 0x80000000n | S1.RW)
    bench.map(second, VA, 0x90000000n | S2.RW)
    bench.cd(cd, contextFields(1, root))
    bench.ste(sid, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd, S2VMID: vmid })
    bench.ste(8 + sid, { ...stageTwoFields(vmid, second), V: 1, Config: CONFIG.S2_TRANS })
    expect([bench.dma(sid, VA), bench.dma(8 + sid, VA)]).toEqual(['ok 80000000', 'ok 90000000'])
    return [root, second]
  })
  for (const root of roots) for (let i = 0; i < 512; i++) bench.poke(root + i * 8, 0n)
  return bench
}

/** VMIDs of the streams from `first` on that have lost their entry. */
const gone = (bench: Bench, first: number): number[] =>
  VMIDS.filter((_vmid, i) => !bench.dma(first + i, VA).startsWith('ok'))

describe('[SMMU 3.17.6 VMID Wildcards] CR0.VMW', () => {
  const blocks: [vmw: number, vmids: readonly number[]][] = [
    [0, [0x21]],
    [1, [0x20, 0x21]],
    [2, [0x20, 0x21, 0x23]],
    [3, [0x20, 0x21, 0x23, 0x27]],
    [4, [0x20, 0x21, 0x23, 0x27, 0x2f]],
    // Reserved values behave as 0.
    [5, [0x21]],
    [6, [0x21]],
    [7, [0x21]],
  ]
  const commands: [name: string, first: number, command: [bigint, bigint]][] = [
    ['NH_ALL', 0, [0x0000_0021_0000_0010n, 0n]],
    ['NH_ASID', 0, [0x0001_0021_0000_0011n, 0n]],
    ['NH_VA', 0, [0x0001_0021_0000_0012n, VA]],
    ['NH_VAA', 0, [0x0000_0021_0000_0013n, VA]],
    ['S12_VMALL', 0, [0x0000_0021_0000_0028n, 0n]],
    ['S12_VMALL of stage 2', 8, [0x0000_0021_0000_0028n, 0n]],
    ['S2_IPA', 8, [0x0000_0021_0000_002an, VA]],
  ]
  it.each(blocks.flatMap(([vmw, vmids]) => commands.map((command) => [vmw, ...command, vmids] as const)))(
    'of %i: %s',
    (vmw, name, first, command, vmids) => {
      const bench = planted(vmw)
      bench.commands(command)
      expect(gone(bench, first)).toEqual(vmids)
      expect(gone(bench, 8 - first)).toEqual(name.startsWith('S12') ? vmids : [])
    },
  )

  it('of 2 leaves look-ups exact', () => {
    const bench = new Bench({ preset: 'full' })
    bench.write(OFFSET.CR0, cr0(2))
    for (const [sid, vmid] of [0x20, 0x21].entries()) {
      const [root, cd] = [bench.alloc(), bench.alloc()]
      bench.map(root, VA, (BigInt(sid + 1) << 32n) | S1.RW)
      bench.cd(cd, contextFields(1, root))
      bench.ste(sid, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd, S2VMID: vmid })
    }
    expect([bench.dma(0, VA), bench.dma(1, VA), bench.dma(0, VA)]).toEqual([
      'ok 100000000',
      'ok 200000000',
      'ok 100000000',
    ])
  })

  it('takes effect for the commands that follow it', () => {
    const bench = planted(0)
    bench.write(OFFSET.CR0, cr0(1))
    bench.commands([0x0000_0021_0000_0010n, 0n])
    bench.write(OFFSET.CR0, cr0(0))
    bench.commands([0x0000_0027_0000_0010n, 0n])
    expect(gone(bench, 0)).toEqual([0x20, 0x21, 0x27])
  })

  it('is acknowledged as it was written, and reserved without IDR0.VMW', () => {
    const bench = planted(7)
    expect([bench.read(OFFSET.CR0), bench.read(OFFSET.CR0ACK)]).toEqual([cr0(7), cr0(7)])
    const without = planted(4, { IDR0: idRegisters('full').IDR0 & ~(1 << 17) })
    expect([without.read(OFFSET.CR0), without.read(OFFSET.CR0ACK)]).toEqual([cr0(0), cr0(0)])
    without.commands([0x0000_0021_0000_0010n, 0n])
    expect(gone(without, 0)).toEqual([0x21])
  })
})
