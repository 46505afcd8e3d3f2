/**
 * Where QEMU comes from. One on the PATH is taken if it is new enough, else Debian's newest is unpacked into a folder of
 * its own: a private apt state, fed by whatever mirror and keys the machine's own apt knows, resolves the packages down
 * to the C library, and `dpkg-deb` unpacks them. Nothing of the system changes, and removing the folder removes it.
 */

import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'

/** The first major version with the devices that the harness drives. */
const FIRST_MAJOR = 11

/** Suites that may have it, where the machine's own does not. */
const SUITES: readonly string[] = ['sid', 'forky']

const PACKAGES: readonly string[] = ['qemu-system-arm', 'qemu-system-x86']

/** Come in through dependencies of libraries, and nothing here would start them. */
const LEFT_OUT: ReadonlySet<string> = new Set(['systemd', 'openssl-provider-legacy', 'libc-gconv-modules-extra'])

/** Folders of packages that a QEMU without a user does not read. */
const UNPACK_WITHOUT: readonly string[] = [
  './usr/share/doc',
  './usr/share/man',
  './usr/share/locale',
  './usr/lib/systemd',
]

/** Where each of Debian's architectures keeps libraries, and its program loader. */
const PLATFORMS: Readonly<Record<string, { readonly triple: string; readonly loader: string }>> = {
  amd64: { triple: 'x86_64-linux-gnu', loader: 'ld-linux-x86-64.so.2' },
  arm64: { triple: 'aarch64-linux-gnu', loader: 'ld-linux-aarch64.so.1' },
}

/** No QEMU that is new enough can be had on this machine. */
export class NoQemu extends Error {}

/** A QEMU that can be started. */
export interface Qemu {
  /** What it says of itself. */
  readonly version: string
  /** Where it stands. */
  readonly place: string
  /** The words before the arguments, for a machine of `x86_64` or `aarch64`. */
  command(machine: string): readonly string[]
  /** What its environment needs beside ours. */
  readonly env: Readonly<Record<string, string>>
}

/**
 * A QEMU that is new enough, installed if there is none.
 *
 * @throws NoQemu
 */
export function obtainQemu(say: (text: string) => void): Qemu {
  const own = onPath()
  if (own !== undefined) return own
  const root =
    process.env['IOMMUD_QEMU_ROOT'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'iommud-qemu')
  const known = unpacked(root)
  if (known !== undefined) return known
  say(`no QEMU ${FIRST_MAJOR} here; unpacking Debian's newest into ${root}`)
  try {
    install(root, say)
  } catch (error) {
    throw error instanceof NoQemu ? error : new NoQemu(`it cannot be unpacked: ${(error as Error).message}`)
  }
  const made = unpacked(root)
  if (made === undefined) throw new NoQemu(`what was unpacked into ${root} does not start`)
  return made
}

/** The first line of `--version`, where it is a version that will do. */
function versionOf(command: readonly string[]): string | undefined {
  const { status, stdout } = spawnSync(command[0], [...command.slice(1), '--version'], { encoding: 'utf8' })
  const line = status === 0 ? stdout.split('\n')[0] : ''
  const major = Number(/version (\d+)\./.exec(line)?.[1])
  return major >= FIRST_MAJOR ? line : undefined
}

function onPath(): Qemu | undefined {
  const command = (machine: string): readonly string[] => [`qemu-system-${machine}`]
  const version = versionOf(command('aarch64'))
  return version === undefined || versionOf(command('x86_64')) === undefined
    ? undefined
    : { version, place: 'PATH', command, env: {} }
}

function unpacked(root: string): Qemu | undefined {
  const platform = Object.values(PLATFORMS).find(({ triple }) => existsSync(join(root, 'usr/lib', triple)))
  if (platform === undefined) return undefined
  const libraries = join(root, 'usr/lib', platform.triple)
  const path = [libraries, join(libraries, 'libproxy'), join(libraries, 'systemd')].join(':')
  const share = join(root, 'usr/share')
  const command = (machine: string): readonly string[] => [
    join(libraries, platform.loader),
    '--library-path',
    path,
    join(root, `usr/bin/qemu-system-${machine}`),
    '-L',
    join(share, 'qemu'),
    '-L',
    join(share, 'seabios'),
  ]
  const version = versionOf(command('aarch64'))
  const env = { QEMU_MODULE_DIR: join(libraries, 'qemu') }
  return version === undefined ? undefined : { version, place: root, command, env }
}

function install(root: string, say: (text: string) => void): void {
  const scratch = mkdtempSync(join(tmpdir(), 'iommud-qemu-'))
  try {
    const platform = PLATFORMS[must('dpkg', ['--print-architecture']).stdout.trim()]
    if (platform === undefined) throw new NoQemu("this machine's architecture has no entry in the installer")
    const apt = privateApt(scratch, mirror())
    say(`taking ${apt.version} from ${apt.suite}`)
    const names = must('apt-get', ['install', '-s', ...PACKAGES], apt.env)
      .stdout.split('\n')
      .flatMap((line) => /^Inst (\S+)/.exec(line)?.[1] ?? [])
      .filter((name) => !LEFT_OUT.has(name))
    const packages = join(scratch, 'packages')
    mkdirSync(packages)
    must('apt-get', ['download', '-qq', ...names], apt.env, packages)
    const fresh = `${root}.new`
    unpack(packages, fresh)
    rmSync(root, { recursive: true, force: true })
    renameSync(fresh, root)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

interface Mirror {
  readonly uri: string
  readonly keys: string
}

/** The mirror that this machine's apt takes its own release from, and the keys that sign it. */
function mirror(): Mirror {
  const release = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? ''
  const look = (): Mirror | undefined => {
    const format = ['--format', '$(REPO_URI)\t$(CODENAME)\t$(SIGNED_BY)', 'Created-By: Packages']
    const { stdout } = run('apt-get', ['indextargets', ...format])
    const rows = (stdout ?? '').split('\n').map((line) => line.split('\t'))
    const row = rows.find(([uri, codename]) => codename === release && !/security/.test(uri))
    if (row === undefined) return undefined
    const keys = row[2]?.startsWith('/') ? row[2] : '/usr/share/keyrings/debian-archive-keyring.gpg'
    return { uri: row[0], keys }
  }
  const known = look()
  if (known !== undefined) return known
  must('apt-get', ['update', '-qq'])
  const found = look()
  if (found === undefined) throw new NoQemu("this machine's apt knows no Debian mirror")
  return found
}

interface PrivateApt {
  readonly env: NodeJS.ProcessEnv
  readonly suite: string
  readonly version: string
}

/** An apt with lists and a status of its own, pointed at the suite with the newest QEMU that can be installed. */
function privateApt(scratch: string, { uri, keys }: Mirror): PrivateApt {
  for (const folder of ['lists/partial', 'cache/archives/partial', 'none'])
    mkdirSync(join(scratch, folder), { recursive: true })
  writeFileSync(join(scratch, 'status'), '')
  const sources = join(scratch, 'sources.list')
  const settings = {
    'Dir::State': scratch,
    'Dir::State::lists': join(scratch, 'lists'),
    'Dir::State::status': join(scratch, 'status'),
    'Dir::Cache': join(scratch, 'cache'),
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': join(scratch, 'none'),
    'Dir::Etc::preferencesparts': join(scratch, 'none'),
    'APT::Install-Recommends': 'false',
    'Acquire::Languages': 'none',
    'APT::Sandbox::User': 'root',
  }
  const config = join(scratch, 'apt.conf')
  writeFileSync(
    config,
    Object.entries(settings)
      .map(([key, value]) => `${key} "${value}";\n`)
      .join(''),
  )
  const env = { ...process.env, APT_CONFIG: config }
  const select = (suite: string): boolean => {
    writeFileSync(sources, `deb [signed-by=${keys}] ${uri} ${suite} main\n`)
    return run('apt-get', ['update', '-qq'], env).status === 0
  }
  let best: { readonly suite: string; readonly version: string } | undefined
  for (const suite of SUITES) {
    if (!select(suite) || run('apt-get', ['install', '-s', ...PACKAGES], env).status !== 0) continue
    const version = run('apt-cache', ['madison', PACKAGES[0]], env).stdout.split('|')[1]?.trim()
    if (version === undefined || Number(/^(?:\d+:)?(\d+)/.exec(version)?.[1]) < FIRST_MAJOR) continue
    const isNewer = best === undefined || run('dpkg', ['--compare-versions', version, 'gt', best.version]).status === 0
    if (isNewer) best = { suite, version }
  }
  if (best === undefined)
    throw new NoQemu(`no suite of ${SUITES.join(', ')} has a QEMU ${FIRST_MAJOR} that can be had here`)
  select(best.suite)
  return { env, ...best }
}

/** Unpacks every package of a folder into one tree, whose /bin and /lib lead into /usr as Debian's do. */
function unpack(packages: string, into: string): void {
  rmSync(into, { recursive: true, force: true })
  for (const folder of ['bin', 'lib', 'lib64', 'sbin']) {
    mkdirSync(join(into, 'usr', folder), { recursive: true })
    symlinkSync(join('usr', folder), join(into, folder))
  }
  const without = UNPACK_WITHOUT.map((path) => `--exclude=${path}`).join(' ')
  for (const name of readdirSync(packages)) {
    const script = `set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink ${without}`
    must('bash', ['-c', script, 'unpack', join(packages, name), into])
  }
}

const run = (
  command: string,
  words: readonly string[],
  env?: NodeJS.ProcessEnv,
  cwd?: string,
): SpawnSyncReturns<string> => spawnSync(command, words, { encoding: 'utf8', env, cwd, maxBuffer: 2 ** 28 })

function must(
  command: string,
  words: readonly string[],
  env?: NodeJS.ProcessEnv,
  cwd?: string,
): SpawnSyncReturns<string> {
  const done = run(command, words, env, cwd)
  if (done.status === 0) return done
  const why = done.error?.message ?? done.stderr.trim().split('\n').slice(-3).join('; ')
  throw new NoQemu(`${command} ${words[0]} failed: ${why}`)
}
