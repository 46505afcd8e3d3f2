import { describe, expect, it } from 'vitest'
import { REQUEST, STATUS } from '../../hw-model/port.js'
import { OFFSET, PRESETS } from '../../hw-model/smmuv3/index.js'
import { Bench } from './bench.js'

/** SFM_ERR. */
const SFM = 1 << 8
const SYNC: [bigint, bigint] = [0x46n, 0n]
const ATS = { IDR0: PRESETS.default.IDR0 | (1 << 10) }

const NO_STREAM = 7

/** The status of a request of one type, of a stream that is nobody's. */
function statusOf(bench: Bench, type: number = REQUEST.UNTRANSLATED): number {
  const transaction = bench.transaction(NO_STREAM, 0x1000n)
  transaction.type = type
  return bench.outcomeOf((outcome) => bench.unit.translate(transaction, outcome)).status
}

function failed(id = {}): Bench {
  const bench = new Bench({ id })
  bench.unit.fail()
  return bench
}

describe('[SMMU 12.3 Service Failure Mode (SFM)]', () => {
  it('is told by GERROR and its interrupt, and registers still read', () => {
    const bench = failed()
    expect([bench.read(OFFSET.GERROR), bench.read(OFFSET.GERRORN), bench.interrupts]).toEqual([SFM, 0, ['gerror']])
    expect(bench.read(OFFSET.CR0) & 1).toBe(1)
  })

  it('ends every transaction and touches no queue', () => {
    const bench = failed()
    bench.commands(SYNC)
    expect(bench.read(OFFSET.CMDQ_CONS)).toBe(0)
    expect([statusOf(bench), bench.unit.events.written]).toEqual([STATUS.ABORTED, 0])
  })

  it('answers a translation request with CA, and a translated access with an abort', () => {
    const bench = failed(ATS)
    expect(statusOf(bench, REQUEST.TRANSLATION)).toBe(STATUS.COMPLETER_ABORT)
    expect(statusOf(bench, REQUEST.TRANSLATED)).toBe(STATUS.ABORTED)
  })

  it('is not ended by the acknowledgement, nor by switching the unit off and on', () => {
    const bench = failed()
    bench.write(OFFSET.GERRORN, SFM)
    for (const cr0 of [0, 0b1101]) bench.write(OFFSET.CR0, cr0)
    expect(statusOf(bench)).toBe(STATUS.ABORTED)
  })

  it('is ended by a reset', () => {
    const bench = failed()
    bench.unit.reset()
    expect(bench.read(OFFSET.GERROR)).toBe(0)
    // SMMUEN is 0 then, and GBPA lets everything through.
    expect(statusOf(bench)).toBe(STATUS.OK)
  })
})
