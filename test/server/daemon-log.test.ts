/** What the operator's log says of the units. */

import { describe, expect, it } from 'vitest'
import { Outcome } from '../../hw-model/port.js'
import { logRecord, namesOf } from '../../server/daemon-log.js'
import { createMachine, DEFAULT_PLATFORM } from '../../server/drivers/machine.js'
import { type ManualClock, manualClock } from '../../server/ops/clock.js'
import { type Log, openLog } from '../../server/ops/log.js'

interface Captured {
  readonly log: Log
  readonly clock: ManualClock
  lines(): Record<string, unknown>[]
}

function capture(level: 'debug' | 'info' = 'info'): Captured {
  const written: string[] = []
  const clock = manualClock()
  const log = openLog(level, clock, { write: (line) => written.push(line) })
  return { log, clock, lines: () => written.splice(0).map((line) => JSON.parse(line)) }
}

const NAMES = namesOf(DEFAULT_PLATFORM)
/** 0000:00:01.0 and 0000:00:02.0: bus, device and function in 8, 5 and 3 bits. */
const [FIRST, SECOND] = [0x08, 0x10]
const [WARN, ERROR, DEBUG] = [40, 50, 20]

describe("a VT-d's fault", () => {
  it('is told with its reason, as an SMMUv3’s event is with its number', () => {
    const { log, lines } = capture()
    const machine = createMachine({
      platform: DEFAULT_PLATFORM,
      files: { roots: [], map: () => expect.unreachable() },
      onUnitRecord: (unit, record) => logRecord(log, NAMES, unit, record),
    })
    // Nothing is attached. A write to 0x1_0000_5000, under no PASID.
    const port = machine.devices.find(({ name }) => name === '0000:01:01.0')?.device.port
    port?.translate(-1, 0x5000, 1, 2, new Outcome())
    const [line] = lines()
    expect(line).toMatchObject({
      level: WARN,
      device: '0000:01:01.0',
      iova: '0x100005000',
      access: 'unprivileged write',
    })
    expect(line['reason']).toMatch(/^0x[0-9a-f]+$/)
  })
})

describe("a unit's event", () => {
  it('that nobody takes is a warning with the name of its device', () => {
    const { log, lines } = capture()
    logRecord(log, NAMES, 'smmu0', { name: 'F_STE_FETCH', rid: FIRST, facts: { fetchAddress: '0x40' } })
    const line = { level: WARN, unit: 'smmu0', device: '0000:00:01.0', event: 'F_STE_FETCH', fetchAddress: '0x40' }
    expect(lines()).toMatchObject([{ ...line, msg: 'an event of a unit that nobody else takes' }])
  })

  it('of a StreamID that is no device’s says so', () => {
    const { log, lines } = capture()
    logRecord(log, NAMES, 'smmu0', { name: 'C_BAD_STREAMID', rid: 0x999, facts: { sid: '0x999' } })
    logRecord(log, NAMES, 'smmu0', { name: 'event queue overflow: records were lost', facts: {} })
    const [stranger, own] = lines()
    expect([stranger['device'], stranger['sid'], 'device' in own]).toEqual(['unknown', '0x999', false])
  })

  it('that a client reads by itself is for debugging alone', () => {
    const record = { name: 'F_TRANSLATION', rid: FIRST, taker: 'guest', facts: {} }
    const [info, debug] = [capture(), capture('debug')]
    for (const { log } of [info, debug]) logRecord(log, NAMES, 'smmu0', record)
    expect([info.lines(), debug.lines()]).toMatchObject([[], [{ level: DEBUG, taker: 'guest' }]])
  })

  it('in a flood has ten lines in ten seconds, then a count with its device, and takes none of another’s', async () => {
    const { log, clock, lines } = capture()
    const record = (rid: number) => ({ name: 'F_TRANSLATION', rid, facts: {} })
    for (let i = 0; i < 1010; i++) logRecord(log, NAMES, 'smmu0', record(FIRST))
    logRecord(log, NAMES, 'smmu0', record(SECOND))
    const first = lines()
    expect([first.length, first.at(-1)]).toMatchObject([11, { device: '0000:00:02.0' }])
    await clock.advance(10_000)
    expect(lines()).toMatchObject([{ unit: 'smmu0', device: '0000:00:01.0', heldBack: 1000, windowMs: 10_000 }])
    logRecord(log, NAMES, 'smmu0', record(FIRST))
    expect(lines()).toHaveLength(1)
  })

  it('in a flood is counted when the daemon stops, too', () => {
    const { log, lines } = capture()
    for (let i = 0; i < 12; i++) logRecord(log, NAMES, 'smmu0', { name: 'F_TRANSLATION', rid: FIRST, facts: {} })
    log.flush()
    expect(lines().at(-1)).toMatchObject({ heldBack: 2 })
  })

  it('that ends the unit is an error, however many came before', () => {
    const { log, lines } = capture()
    for (let i = 0; i < 200; i++) logRecord(log, NAMES, 'smmu0', { name: 'CERROR_ABT', facts: {} })
    lines()
    logRecord(log, NAMES, 'smmu0', { name: 'SFM_ERR', isFailure: true, facts: { what: 'it is off' } })
    expect(lines()).toMatchObject([
      { level: ERROR, unit: 'smmu0', cause: 'SFM_ERR', what: 'it is off', msg: 'a unit has failed' },
    ])
  })
})
