/** Operations on test devices: made, attached, looked at, made to ask for pages and to report events. */

import { attach, pageTableOf, replace } from '../core/attach.js'
import type { Call } from '../core/call.js'
import { Device } from '../core/device.js'
import { RID_SLOT } from '../core/driver.js'
import { PagingDomain } from '../core/paging-domain.js'
import { Refusal } from '../core/refusal.js'
import { makeTestDevice, selftestOf, testDevice } from '../core/test-device.js'
import { UserDomain } from '../core/user-domain.js'
import type { Work } from '../core/work.js'
import { onceDone } from './file.js'
import type { TestRun } from './test-command.js'
import { TEST_OP } from './test-structs.js'

/** A request without a PASID. */
const NO_PASID = -1

const mockDomain =
  (hasFlags: boolean): TestRun =>
  (call, { id, mock_domain_flags_dev_flags: flags }) =>
    onceDone(call.inSlices(makeTestDevice(call, hasFlags ? flags : 0, id)), ({ made, domain }) => ({
      set: {
        mock_domain_out_stdev_id: made.id,
        mock_domain_out_hwpt_id: domain.id,
        mock_domain_out_idev_id: made.device.id,
      },
    }))

/** Fills a slot, or moves it. PASID 0 is the RID here. */
const put =
  (how: typeof attach | typeof replace) =>
  (call: Call, id: number, slot: number, ptId: number): Work<number> =>
    (function* () {
      const device = testDevice(call, id)
      return (yield* how(call, device, slot, pageTableOf(call, ptId))).id
    })()

const attachSlot = put(attach)
const replaceSlot = put(replace)

/** The device of an id, if it is of the self-test unit. @throws Refusal ENOENT, EINVAL */
function selftestDevice(call: Call, id: number): Device {
  const device = call.look(Device, id, 'dev_id')
  if (device.platform.driver.kind === 'selftest') return device
  throw new Refusal('EINVAL', `device ${id} is no test device`, { device: id, unit: device.platform.driver.name })
}

/** By number. */
export const DEVICE_OPS: Readonly<Record<number, TestRun>> = {
  [TEST_OP.MOCK_DOMAIN]: mockDomain(false),
  [TEST_OP.MOCK_DOMAIN_FLAGS]: mockDomain(true),
  [TEST_OP.MOCK_DOMAIN_REPLACE]: (call, { id, mock_domain_replace_pt_id: ptId }) =>
    onceDone(call.inSlices(replaceSlot(call, id, RID_SLOT, ptId)), (domain) => ({
      set: { mock_domain_replace_pt_id: domain },
    })),
  [TEST_OP.PASID_ATTACH]: (call, { id, pasid_attach_pasid: pasid, pasid_attach_pt_id: ptId }) =>
    onceDone(call.inSlices(attachSlot(call, id, pasid, ptId)), (domain) => ({ set: { pasid_attach_pt_id: domain } })),
  [TEST_OP.PASID_REPLACE]: (call, { id, pasid_replace_pasid: pasid, pasid_replace_pt_id: ptId }) =>
    onceDone(call.inSlices(replaceSlot(call, id, pasid, ptId)), (domain) => ({ set: { pasid_replace_pt_id: domain } })),
  [TEST_OP.PASID_DETACH](call, { id, pasid_detach_pasid: pasid }) {
    call.after(testDevice(call, id).detach(pasid))
    return {}
  },
  [TEST_OP.PASID_CHECK_HWPT](call, { id, pasid_check_pasid: pasid, pasid_check_hwpt_id: hwptId }) {
    const attached = testDevice(call, id).slots.get(pasid)
    if (hwptId !== 0) lookHwpt(call, hwptId)
    if ((attached?.id ?? 0) === hwptId) return {}
    const is = attached === undefined ? 'nothing' : `${attached.kind} ${attached.id}`
    throw new Refusal('EINVAL', `${is} is attached there`, { pasid, hwpt_id: hwptId })
  },
  [TEST_OP.DEV_CHECK_CACHE](call, { id, check_dev_cache_id: index, check_dev_cache_cache: expected }) {
    const word = selftestOf(call).cacheEntry(selftestDevice(call, id).platform.device, index)
    refuseOther('the device’s cache', index, word, expected)
    return {}
  },
  [TEST_OP.TRIGGER_IOPF](call, values) {
    const { trigger_iopf_dev_id: id, trigger_iopf_pasid: pasid, trigger_iopf_grpid: group } = values
    selftestOf(call).requestPage(selftestDevice(call, id).platform.device, {
      pasid: pasid === RID_SLOT ? NO_PASID : pasid,
      group,
      isLast: true,
      access: values.trigger_iopf_perm,
      address: values.trigger_iopf_addr,
    })
    return {}
  },
  [TEST_OP.TRIGGER_VEVENT](call, { trigger_vevent_dev_id: id }) {
    const unit = selftestOf(call)
    const event = unit.eventOf(selftestDevice(call, id).platform.device)
    if (event === undefined) {
      throw new Refusal('ENOENT', 'the RID of the device is in no vIOMMU, or has the virtual id 0 there', {
        device: id,
      })
    }
    if (!unit.report(event)) throw new Refusal('EOPNOTSUPP', 'the vIOMMU has no event queue of the self-test’s type')
    return {}
  },
  [TEST_OP.SET_TEMP_MEMORY_LIMIT](_call, { memory_limit_limit: limit }) {
    // The kernel's lists of pages in pieces; here nothing is listed.
    if (limit < SMALLEST_LIMIT) throw new Refusal('EINVAL', `the limit is at least ${SMALLEST_LIMIT} bytes`, { limit })
    return {}
  },
}

/** A page frame number and a count. */
const SMALLEST_LIMIT = 12

/** What a check of a cache expects. @throws Refusal EINVAL */
export function refuseOther(cache: string, index: number, word: number | undefined, expected: number): void {
  if (word === expected) return
  const reason = word === undefined ? `${cache} has no entry ${index}` : `entry ${index} of ${cache} is ${hex32(word)}`
  throw new Refusal('EINVAL', reason, { index, expected: hex32(expected) })
}

const hex32 = (word: number): string => `0x${word.toString(16)}`

/** @throws Refusal ENOENT (no object), EINVAL (an object of another kind) */
function lookHwpt(call: Call, id: number): void {
  const found = call.context.objects.find(id)
  if (found instanceof PagingDomain || found instanceof UserDomain) return
  const reason = call.context.objects.describe(id)
  throw new Refusal(found === undefined ? 'ENOENT' : 'EINVAL', `hwpt_id: ${reason}`, { hwpt_id: id })
}
