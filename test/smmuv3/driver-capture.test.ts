/** The captured guest once more, its STE words given to the host driver as user domains behind a nesting parent. */

import { describe, expect, it } from 'vitest'
import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import { givenData } from '../../server/core/driver.js'
import { HostRam } from '../../server/drivers/host-ram.js'
import { createSmmuV3Driver, type SmmuEvent } from '../../server/drivers/smmuv3/index.js'
import { capture, expected, loadPages, type Row, rows } from './captured-guest.js'

const PLACED = 2 ** 40
const RAM = { base: Number(capture.ram[0].base), bytes: Number(capture.ram[0].size) }
const isInRam = (row: Row): boolean => row.pa === undefined || Number(row.pa) >= RAM.base

function hostWithGuest() {
  const memory = new Memory()
  const ram = new HostRam(memory, 2 ** 33, 2 ** 30)
  memory.place(PLACED, new SparseBacking(RAM.bytes))
  expect(loadPages(memory, (address) => address - RAM.base + PLACED)).toBe(0)
  const events: SmmuEvent[] = []
  const driver = createSmmuV3Driver({ name: 'smmu0', memory, ram, onEvent: (event) => events.push(event) })
  const device = driver.probe({ rid: 8, pasidLg2: 0, ats: false, pri: false })
  const parent = driver.createPaging(device, { nestParent: true, dirtyTracking: false, pasid: false })
  parent.map(BigInt(RAM.base), PLACED, BigInt(RAM.bytes), { read: true, write: true })
  return { device, events, parent, viommu: driver.createViommu(device, parent) }
}

describe('a captured Linux guest behind the host driver', () => {
  it('finds through a user domain what its own tables say, stream by stream on one device', () => {
    const { device, events, viommu } = hostWithGuest()
    const out = new Outcome()
    const wrong: unknown[] = []
    let compared = 0
    for (const { sid, ste } of capture.streams) {
      viommu.addVdevice(device, BigInt(sid))
      const domain = viommu.createUserDomain(
        device,
        givenData('smmuv3_ste', {
          ste0: BigInt(ste[0]),
          ste1: BigInt(ste[1]),
        }),
        { pasid: false },
      )
      device.set(0, domain, null)
      for (const row of rows) {
        if (row.sid !== sid || !isInRam(row)) continue
        const iova = BigInt(row.iova)
        const access = row.access === 'r' ? ACCESS.READ : ACCESS.WRITE
        device.port.translate(-1, Number(iova & 0xffffffffn), Number(iova >> 32n), access, out)
        const answer =
          out.status === STATUS.OK
            ? `0x${(out.address - PLACED + RAM.base).toString(16)}`
            : device.port.faultName(out.fault)
        if (answer !== expected(row)) wrong.push({ row, answer })
        compared++
      }
      device.clear(0, domain)
      domain.destroy()
      viommu.removeVdevice(device)
    }
    expect(wrong.slice(0, 5)).toEqual([])
    expect(compared).toBeGreaterThan(18000)
    expect(events.every(({ isStageTwo, virtual }) => !isStageTwo && virtual !== null)).toBe(true)
    expect(events.length).toBe(rows.filter((row) => isInRam(row) && /^F_/.test(expected(row))).length)
  })

  it('meets stage 2 at the one page that is not RAM, the MSI doorbell', () => {
    const outside = rows.filter((row) => !isInRam(row))
    expect([outside.length, new Set(outside.map((row) => Math.floor(Number(row.pa) / 4096)))]).toEqual([
      12,
      new Set([0x8090]),
    ])
    const { device, events, viommu } = hostWithGuest()
    const [{ sid, iova }] = outside
    const ste = capture.streams.find((stream) => stream.sid === sid)?.ste ?? []
    viommu.addVdevice(device, BigInt(sid))
    const data = givenData('smmuv3_ste', { ste0: BigInt(ste[0]), ste1: BigInt(ste[1]) })
    device.set(0, viommu.createUserDomain(device, data, { pasid: false }), null)
    device.port.translate(-1, Number(BigInt(iova) & 0xffffffffn), Number(BigInt(iova) >> 32n), 2, new Outcome())
    expect(events.map(({ event, isStageTwo }) => [event, isStageTwo])).toEqual([[0x10, true]])
  })
})
