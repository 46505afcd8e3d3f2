/** The ioctl door: handlers of HandleService. */

import * as handle from './handle-calls.js'
import { openHandle } from './open.js'

/** Handlers by the method's name in the contract. */
export const HANDLE_HANDLERS = {
  OpenHandle: openHandle,
  Ioctl: handle.ioctl,
  ReadHandle: handle.readHandle,
  WriteHandle: handle.writeHandle,
  PollHandle: handle.pollHandle,
  MapHandle: handle.mapHandle,
  CloseHandle: handle.closeHandle,
}
