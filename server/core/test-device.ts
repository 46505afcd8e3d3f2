/**
 * Test devices: devices of the self-test unit that a call makes, binds and attaches at once, and that go with their
 * object. [uAPI IOMMU_TEST_CMD, IOMMU_TEST_OP_MOCK_DOMAIN]
 */

import { attach, pageTableOf } from './attach.js'
import type { Call } from './call.js'
import { after } from './completion.js'
import type { Context } from './context.js'
import { Device, type Domain, GRANT } from './device.js'
import { type Completion, RID_SLOT } from './driver.js'
import type { SelftestUnit } from './machine.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import { Refusal } from './refusal.js'
import type { Work } from './work.js'

/** The object of a test device, in the place of the file through which others are bound. */
export class TestDevice extends IommuObject {
  static override readonly label = 'a test device'

  readonly type = OBJECT_TYPE.SELFTEST
  readonly kind = 'test device'
  readonly device: Device
  readonly #context: Context
  readonly #unit: SelftestUnit

  constructor(id: number, context: Context, unit: SelftestUnit, device: Device) {
    super(id)
    this.#context = context
    this.#unit = unit
    this.device = device
  }

  get holds(): readonly IommuObject[] {
    return []
  }

  override get facts(): Readonly<Record<string, string>> {
    return { device: String(this.device.id), name: this.device.platform.name }
  }

  /** Nobody else changes what goes with it. */
  override get takesAlong(): readonly IommuObject[] {
    return [this.device]
  }

  /** The device is detached and unbound, and is no more. A context that ends has unbound it already. */
  destroy(): Completion {
    const { device } = this
    const isBound = this.#context.objects.find(device.id) === device
    return after(isBound ? device.unbind() : undefined, () => this.#unit.removeDevice(device.platform))
  }
}

/** The self-test unit. @throws Refusal EOPNOTSUPP */
export function selftestOf({ core }: Call): SelftestUnit {
  if (core.machine.selftest !== undefined) return core.machine.selftest
  throw new Refusal('EOPNOTSUPP', 'there is no self-test unit; start with --test-device')
}

/**
 * Makes a test device and attaches it. The object's id is the lowest, then that of the bound device, then that of a
 * domain that is made for it.
 */
export function* makeTestDevice(
  call: Call,
  flags: number,
  ptId: number,
): Work<{ readonly made: TestDevice; readonly domain: Domain }> {
  const unit = selftestOf(call)
  const id = call.newId()
  call.core.failPoint?.('test device')
  const platform = unit.addDevice(flags)
  const made: { object?: TestDevice } = {}
  // Once there is an object it takes the device with it.
  call.onUndo(() => (made.object === undefined ? unit.removeDevice(platform) : undefined))
  const device = call.make(new Device(call.newId(), call.context, platform, GRANT.WHOLE_DEVICE))
  const domain = yield* attach(call, device, RID_SLOT, pageTableOf(call, ptId))
  made.object = call.make(new TestDevice(id, call.context, unit, device))
  return { made: made.object, domain }
}

/** The device of a test device's object, to change. @throws Refusal ENOENT, EBUSY */
export const testDevice = (call: Call, id: number): Device => call.change(call.take(TestDevice, id, 'id').device)
