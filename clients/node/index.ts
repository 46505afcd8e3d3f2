/** The iommud SDK for Node. `connect()`, open a context, call the methods of the contract. */
export { CodecError } from '../../proto/codec.js'
export { METHODS, type MethodName, type ReplyOf, type RequestOf } from '../../proto/generated/methods.js'
export * from '../../proto/generated/types.js'
export {
  type CallOptions,
  type Calls,
  type Client,
  type ContextCalls,
  type ContextClient,
  createClient,
} from './client.js'
export { type ConnectOptions, connect, defaultSocketPaths } from './connect.js'
export { type DirtyRange, type DirtyReader, type DirtyRun, dirtyRuns } from './dirty.js'
export { IommudError } from './errors.js'
export { type OracleUnit, type StaleLister, type WatchOptions, watchStale } from './stale.js'
export { type HttpTarget, httpTransport, type Transport, TransportError, type TransportReply } from './transport.js'
