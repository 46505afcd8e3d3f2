/**
 * The daemon's configuration: flags, over the environment (IOMMUD_…), over a YAML file, over defaults. Whatever is not
 * known is refused, in each of them.
 */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Ajv, type ErrorObject } from 'ajv'
import { Command, CommanderError, Option } from 'commander'
import { DEFAULT_PLATFORM, type PlatformSpec } from '../drivers/platform.js'
import { limitNames } from './limits.js'
import type { LogLevel } from './log.js'
import { PLATFORM_SCHEMA, platformFaults, readPlatform, type WrittenPlatform } from './platform-schema.js'
import { flagOf, parseMap, parseSetting, SETTINGS, type Setting, variableOf } from './settings.js'

/** How long calls in flight have after SIGTERM: well under the 30 s after which Kubernetes kills. */
const DRAIN_MS = 5_000

/** A whole configuration. */
export interface Config {
  /** Path of the clients' socket, `off`, or undefined for the first usable default. */
  readonly socket?: string
  /** HOST:PORT of the TCP listener; undefined for none. */
  readonly listen?: string
  readonly tokenFile?: string
  /** A path, `off`, or undefined for a socket beside the clients' one. */
  readonly admin?: string
  /** HOST:PORT, a path, `off`, or undefined for a socket beside the clients' one. */
  readonly diagnostics?: string
  readonly fileRoots: readonly string[]
  readonly strict: boolean
  /** There is the kernel's self-test unit, and IOMMU_TEST_CMD. */
  readonly testDevice: boolean
  /** Decimal, 64 bits; undefined for real randomness. */
  readonly seed?: string
  readonly clock: 'system' | 'manual'
  /** What the oracle of every unit does, raw ones too, unless the platform says otherwise. */
  readonly oracle: 'off' | 'report' | 'fail'
  readonly limits: Readonly<Record<string, number>>
  readonly autoIovaAlignment: number
  readonly drainMs: number
  readonly logLevel: LogLevel
  readonly platform: PlatformSpec
}

/** What applies where nothing is said. */
export const DEFAULT_CONFIG: Config = {
  fileRoots: [],
  strict: false,
  testDevice: false,
  clock: 'system',
  oracle: 'off',
  limits: {},
  autoIovaAlignment: 4096,
  drainMs: DRAIN_MS,
  logLevel: 'info',
  platform: DEFAULT_PLATFORM,
}

/** The configuration is wrong; the message has one line for each fault. */
export class ConfigError extends Error {}

/** What the command line asks for. */
export type Invocation =
  | { readonly kind: 'run' | 'print-config'; readonly config: Config }
  | { readonly kind: 'told'; readonly text: string }

/** Variables of this prefix that are others' business: the clients', and those Kubernetes makes for a Service. */
const OTHERS_VARIABLES = /^IOMMUD_(CONTEXT|TOKEN|CAPTURES|TEST_.*|SERVICE_.*|PORT(_.*)?)$/

/**
 * Reads the configuration.
 *
 * @param args the command line after the program's name
 * @throws ConfigError with every fault found
 */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  version: string,
): Invocation {
  const flags = readFlags(args, version)
  if ('told' in flags) return { kind: 'told', text: flags.told }
  const path = flags.config ?? environment.IOMMUD_CONFIG
  const platformPath = flags.platform ?? environment.IOMMUD_PLATFORM
  const written = {
    ...(path === undefined ? {} : readYaml(path)),
    ...readEnvironment(environment),
    ...flags.settings,
    ...(platformPath === undefined ? {} : { platform: readYaml(platformPath) }),
  }
  return { kind: flags.printConfig ? 'print-config' : 'run', config: checkConfig(written) }
}

/**
 * Checks settings from anywhere and fills them up with the defaults.
 *
 * @throws ConfigError
 */
export function checkConfig(written: object): Config {
  const copy = structuredClone(written) as Partial<Config> & { platform?: WrittenPlatform }
  // The schema is ours and the same at every start: checking it against its own schema would be half of the start-up.
  const ajv = new Ajv({ allErrors: true, useDefaults: true, meta: false, validateSchema: false })
  const check = ajv.compile({
    type: 'object',
    additionalProperties: false,
    properties: {
      ...Object.fromEntries(SETTINGS.map(({ key, schema }) => [key, schema])),
      // Compiling it takes longer than all the rest.
      ...(copy.platform === undefined ? {} : { platform: PLATFORM_SCHEMA }),
    },
  })
  if (!check(copy)) throw new ConfigError([...new Set((check.errors ?? []).map(spell))].join('\n'))
  const strange = Object.keys(copy.limits ?? {}).filter((name) => !limitNames().includes(name))
  if (strange.length > 0) throw new ConfigError(`limits: there is no ${strange.join(', ')}; ${limitNames().join(', ')}`)
  if (copy.platform === undefined) return { ...DEFAULT_CONFIG, ...copy } as Config
  const faults = platformFaults(copy.platform)
  if (faults.length > 0) throw new ConfigError(faults.join('\n'))
  return { ...DEFAULT_CONFIG, ...copy, platform: readPlatform(copy.platform) } as Config
}

/** The configuration as the YAML that would give it again. */
export function printConfig(config: Config): string {
  const units = config.platform.units.map(({ registers, ...unit }) => ({
    ...unit,
    registers: Object.fromEntries(Object.entries(registers ?? {}).map(([name, v]) => [name, `0x${v.toString(16)}`])),
  }))
  return yaml().stringify({ ...config, platform: { ...config.platform, units } })
}

interface Flags {
  readonly settings: Readonly<Record<string, unknown>>
  readonly config?: string
  readonly platform?: string
  readonly printConfig: boolean
}

function readFlags(args: readonly string[], version: string): Flags | { readonly told: string } {
  let told = ''
  const command = new Command('iommud')
    .description("/dev/iommu as a service: Linux iommufd's object model on emulated SMMUv3 and VT-d")
    .version(version)
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: (text) => (told += text), writeErr: () => {} })
    .option('--config <PATH>', 'YAML file with any of these settings, by their names in camelCase')
    .option('--platform <PATH>', 'YAML or JSON file with the emulated machine: units and devices')
    .option('--print-config', 'print the configuration in force as YAML, and end')
    .addHelpText('after', EXPLANATIONS)
  for (const setting of SETTINGS) command.addOption(optionOf(setting))
  try {
    command.parse(args, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return { told }
    throw new ConfigError(error instanceof Error ? error.message.replace(/^error: /, '') : `${error}`)
  }
  const { config, platform, printConfig = false, ...options } = command.opts()
  const settings = SETTINGS.flatMap((setting) => {
    const value = options[attributeOf(setting)]
    return value === undefined ? [] : [[setting.key, fromText(setting, flagOf(setting), value)]]
  })
  return { settings: Object.fromEntries(settings), config, platform, printConfig }
}

function optionOf(setting: Setting): Option {
  const many = setting.kind === 'list' || setting.kind === 'map'
  const option = new Option(
    setting.metavar === undefined ? flagOf(setting) : `${flagOf(setting)} <${setting.metavar}>`,
    `${setting.help} (${variableOf(setting)})`,
  )
  return many ? option.argParser((item: string, before: string[] = []) => [...before, item]) : option
}

const attributeOf = (setting: Setting): string => optionOf(setting).attributeName()

function fromText(setting: Setting, name: string, value: string | boolean | readonly string[]): unknown {
  const read = typeof value === 'string' ? parseSetting(setting.kind, value) : fromParts(setting, value)
  if (read === undefined)
    throw new ConfigError(`${name}: ${JSON.stringify(value)} is not ${setting.metavar ?? 'a flag'}`)
  return read
}

const fromParts = (setting: Setting, value: boolean | readonly string[]): unknown =>
  setting.kind === 'map' && typeof value !== 'boolean' ? parseMap(value) : value

function readEnvironment(environment: Readonly<Record<string, string | undefined>>): Record<string, unknown> {
  const known = new Map(SETTINGS.map((setting) => [variableOf(setting), setting]))
  const settings: Record<string, unknown> = {}
  for (const [name, text] of Object.entries(environment)) {
    if (!name.startsWith('IOMMUD_') || name === 'IOMMUD_CONFIG' || name === 'IOMMUD_PLATFORM') continue
    const setting = known.get(name)
    if (setting !== undefined) settings[setting.key] = fromText(setting, name, text ?? '')
    else if (!OTHERS_VARIABLES.test(name)) throw new ConfigError(`${name}: there is no such environment variable`)
  }
  return settings
}

/** YAML is loaded where there is some to read. */
const yaml = (): typeof import('yaml') => createRequire(import.meta.url)('yaml')

function readYaml(path: string): Record<string, unknown> {
  let read: unknown
  try {
    read = yaml().parse(readFileSync(path, 'utf8')) ?? {}
  } catch (error) {
    throw new ConfigError(`${path}: ${error instanceof Error ? error.message : error}`)
  }
  if (typeof read !== 'object' || Array.isArray(read)) throw new ConfigError(`${path}: this is not a map of settings`)
  return read as Record<string, unknown>
}

function spell({ instancePath, message, params }: ErrorObject): string {
  const where = instancePath === '' ? '' : `${instancePath.slice(1).replaceAll('/', '.')}: `
  const more = params.additionalProperty ?? params.allowedValues?.join(', ') ?? ''
  return `${where}${message}${more === '' ? '' : ` (${more})`}`
}

const EXPLANATIONS = `
Flags win over the environment, the environment over the YAML file, the file over the defaults.
The socket is /run/iommud/iommud.sock, else $XDG_RUNTIME_DIR/iommud/iommud.sock, else one in a private folder
under the temporary directory; admin.sock and diagnostics.sock are beside it.
SIGTERM, SIGINT and SIGHUP stop it in order: calls in flight get --drain-ms; a second signal ends it at once.
Exit status: 0 stopped by a signal, 1 could not start (a live daemon has the socket) or was ended by a second signal,
70 ended by a bug of the daemon (the log's last line has its stack), 2 wrong configuration.`
