/** Emulated physical memory: what stands behind it and how hardware reads it. */
export {
  type Admit,
  type Backing,
  CHUNK_BYTES,
  CHUNK_LG2,
  FlatBacking,
  type Placement,
  SparseBacking,
} from './backing.js'
export { MEMORY, Memory } from './memory.js'
