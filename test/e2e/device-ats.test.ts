/** Devices of the built-in platform that keep translations of a guest's own tables, and ask for pages. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AddressType, DmaOutcome } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { Watched } from '../hostile/ats-world.js'
import { NEW, NestedGuest, OLD, RAM, VIRTUAL_SID } from '../hostile/nested-guest.js'

const DEVICES = { smmuv3: '0000:00:02.0', vtd: '0000:01:02.0' } as const

describe.each(['smmuv3', 'vtd'] as const)('the second device behind the built-in %s', (arch) => {
  let daemon: Daemon
  let guest: NestedGuest
  beforeAll(async () => {
    daemon = await startDaemon({ seed: 4 })
    guest = await NestedGuest.start(daemon.client, arch, DEVICES[arch])
  })
  afterAll(async () => {
    await guest.close()
    await daemon.stop()
  })

  it('has ATS and PRI, as its mediated child, and the first has neither', async () => {
    const { devices } = await daemon.client.inContext(guest.client.token).listDevices({})
    const [first, second, child] = ['1.0', '2.0', '2.0-mdev'].map((end) =>
      devices.find(({ name }) => name === DEVICES[arch].replace('2.0', end)),
    )
    expect([first, second, child].map((device) => [device?.ats, device?.pri])).toEqual([
      [false, false],
      [true, true],
      [true, true],
    ])
  })

  it('holds a translation of the guest’s tables until the guest’s invalidation has reached it', async () => {
    const { client, deviceId, regionId } = guest
    const ask = async () => (await client.requestTranslations({ deviceId, iovas: [0n], access: 3 })).addresses[0]
    const read = async (page: bigint) => {
      const operations = [{ address: page - RAM, length: 4, regionId }]
      const { results } = await client.dmaRead({ deviceId, addressType: AddressType.TRANSLATED, operations })
      return results[0].outcome === DmaOutcome.OK
    }
    expect(RAM + (await ask())).toBe(OLD)
    await guest.pointTo(NEW)
    // VT-d's descriptor is for the unit and the device; SMMUv3 has a command for each.
    const unmapped = new Watched(arch === 'vtd' ? guest.forget() : forgetBoth())
    const { invalidations } = await client.pollInvalidations({ deviceId, waitMs: 5000 })
    expect([invalidations.length, unmapped.isAnswered, await read(OLD)]).toEqual([1, false, true])
    await client.completeInvalidations({ deviceId, tags: invalidations.map(({ tag }) => tag) })
    await unmapped.done
    expect([await read(OLD), RAM + (await ask()), await read(NEW)]).toEqual([false, NEW, true])
  })

  /** TLBI_NH_ALL, then ATC_INV of everything. */
  async function forgetBoth(): Promise<void> {
    await guest.forget()
    expect(await guest.send(0x40n | (VIRTUAL_SID << 32n), 52n)).toBe('')
  }
})
