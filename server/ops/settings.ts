/** Every setting of the daemon, once: from this table come flags, environment variables, YAML keys and `--help`. */

import { LOG_LEVELS } from './log.js'

/** How a setting is written outside YAML, where everything is text. */
export type SettingKind = 'text' | 'flag' | 'integer' | 'u64' | 'list' | 'map'

/** One setting. */
export interface Setting {
  /** The YAML key; the flag and the variable are spelled after it. */
  readonly key: string
  readonly kind: SettingKind
  /** What stands for its value in `--help`. */
  readonly metavar?: string
  readonly help: string
  /** JSON Schema of the value. */
  readonly schema: object
}

const TEXT = { type: 'string', minLength: 1 }
const MS = { type: 'integer', minimum: 0, maximum: 2 ** 31 - 1 }

/** All settings but the platform, which has a schema of its own. */
export const SETTINGS: readonly Setting[] = [
  {
    key: 'socket',
    kind: 'text',
    metavar: 'PATH',
    help: 'Unix socket for clients, or "off"',
    schema: TEXT,
  },
  {
    key: 'listen',
    kind: 'text',
    metavar: 'HOST:PORT',
    help: 'also listen on loopback TCP; port 0 takes a free one; clients need the token',
    schema: { type: 'string', pattern: '^(127\\.[0-9.]+|localhost|\\[::1\\]):[0-9]{1,5}$' },
  },
  {
    key: 'tokenFile',
    kind: 'text',
    metavar: 'PATH',
    help: 'file with the token for TCP clients; made with a new token if it does not exist',
    schema: TEXT,
  },
  {
    key: 'admin',
    kind: 'text',
    metavar: 'PATH',
    help: 'Unix socket for the administrator, who sees all contexts, or "off"',
    schema: TEXT,
  },
  {
    key: 'diagnostics',
    kind: 'text',
    metavar: 'WHERE',
    help: 'listener of /livez /readyz /metrics /version: HOST:PORT, a socket path, or "off"',
    schema: TEXT,
  },
  {
    key: 'fileRoots',
    kind: 'list',
    metavar: 'FOLDER',
    help: 'folder whose files clients may register as memory; may be repeated',
    schema: { type: 'array', items: { type: 'string', pattern: '^/' } },
  },
  {
    key: 'strict',
    kind: 'flag',
    help: 'refuse the methods that a real kernel does not have',
    schema: { type: 'boolean' },
  },
  {
    key: 'testDevice',
    kind: 'flag',
    help: 'add the self-test unit of a test kernel, and IOMMU_TEST_CMD, which makes its devices',
    schema: { type: 'boolean' },
  },
  {
    key: 'seed',
    kind: 'u64',
    metavar: 'NUMBER',
    help: 'make every random choice, tokens included, repeatable; for tests',
    schema: { type: 'string', pattern: '^[0-9]{1,20}$' },
  },
  {
    key: 'clock',
    kind: 'text',
    metavar: 'KIND',
    help: '"system", or "manual": time stands still but for AdvanceClock',
    schema: { enum: ['system', 'manual'] },
  },
  {
    key: 'oracle',
    kind: 'text',
    metavar: 'MODE',
    help: 'on a stale translation, which some invalidation was forgotten for: "off", "report" it, or "fail" the access too',
    schema: { enum: ['off', 'report', 'fail'] },
  },
  {
    key: 'limits',
    kind: 'map',
    metavar: 'NAME=VALUE',
    help: 'a limit of GetServerInfo with another value; may be repeated',
    schema: { type: 'object', additionalProperties: { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } },
  },
  {
    key: 'autoIovaAlignment',
    kind: 'integer',
    metavar: 'BYTES',
    help: 'largest alignment of IOVAs that the daemon chooses: 4096, or 2097152 as kernels with huge pages',
    schema: { enum: [4096, 2 ** 21] },
  },
  {
    key: 'drainMs',
    kind: 'integer',
    metavar: 'MS',
    help: 'how long calls in flight may take to finish after SIGTERM or SIGINT',
    schema: MS,
  },
  {
    key: 'logLevel',
    kind: 'text',
    metavar: 'LEVEL',
    help: `one of ${LOG_LEVELS.join(', ')}; calls are at debug`,
    schema: { enum: LOG_LEVELS },
  },
]

/** `fileRoots` is given as `--file-root`, once for each. */
export const flagOf = ({ key, kind }: Setting): string =>
  `--${kebab(kind === 'list' || kind === 'map' ? key.replace(/s$/, '') : key)}`

/** `drainMs` is `IOMMUD_DRAIN_MS`. */
export const variableOf = ({ key }: Setting): string => `IOMMUD_${kebab(key).replaceAll('-', '_').toUpperCase()}`

/** The value of a setting from text: lists are separated by `:`, maps by `,`. Undefined where it cannot be read. */
export function parseSetting(kind: SettingKind, text: string): unknown {
  switch (kind) {
    case 'flag':
      return { '1': true, true: true, '0': false, false: false }[text]
    case 'integer':
      return /^\d+$/.test(text) ? Number(text) : undefined
    case 'list':
      return text.split(':').filter((item) => item !== '')
    case 'map':
      return parseMap(text.split(',').filter((item) => item !== ''))
    default:
      return text
  }
}

/** `['a=1', 'b=2']` as an object. Undefined where an item is not NAME=NUMBER. */
export function parseMap(items: readonly string[]): Record<string, number> | undefined {
  const pairs = items.map((item) => /^([a-z_.]+)=(\d+)$/.exec(item))
  if (pairs.some((pair) => pair === null)) return undefined
  return Object.fromEntries(pairs.map((pair) => [pair![1], Number(pair![2])]))
}

const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
