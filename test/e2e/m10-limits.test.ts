/** M10: what a context may take of a unit for its windows. */

import { describe, expect, it } from 'vitest'
import { makeWindow, PAGE, RAM, WINDOW } from './window-guest.js'
import { DEVICES, READ, refusal, World } from './world.js'

describe('M10: limits', () => {
  it('count a window’s memory, and its VMID, as they count a domain’s: EDQUOT, and nothing is left of the call', async () => {
    const small = await World.start(undefined, [
      '--limit',
      'context.table_bytes=262144',
      '--limit',
      'context.domains=4',
    ])
    try {
      const vmm = await small.vmm()
      const deviceId = await vmm.bind(DEVICES.smmuv3.first)
      const parent = await vmm.parent(deviceId)
      const large = await refusal(makeWindow(vmm, parent, WINDOW, 1024n))
      expect([large.errnoName, large.reason]).toEqual(['EDQUOT', expect.stringMatching(/table_bytes/)])
      const windows: number[] = []
      for (let i = 0n; i < 3n; i++) windows.push(await makeWindow(vmm, parent, WINDOW + i * PAGE, 1n))
      const last = WINDOW + 1025n * PAGE - 1n
      const grown = await refusal(vmm.client.growWindow({ windowId: windows[0], first: WINDOW + 3n * PAGE, last }))
      expect([grown.errnoName, grown.reason]).toEqual(['EDQUOT', expect.stringMatching(/table_bytes/)])
      const fifth = await refusal(makeWindow(vmm, parent, WINDOW + 3n * PAGE, 1n))
      expect([fifth.errnoName, fifth.reason]).toEqual(['EDQUOT', expect.stringMatching(/domains/)])
      await vmm.client.attachRid({ deviceId, ptId: windows[0] })
      expect((await vmm.dma(deviceId, RAM, READ)).address).toBe(RAM)
      await vmm.client.destroy({ objectId: windows[1] })
      expect(await makeWindow(vmm, parent, WINDOW + 3n * PAGE, 1n)).toBeGreaterThan(0)
    } finally {
      await small.stop()
    }
  })
})
