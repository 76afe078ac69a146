// containers.mjs - Guichet as docker-compose.yml runs it, on a real Docker engine, under a name and a port of its own.
//
// The engine is the one that runs here, or one we may start and then stop again. Base images that are missing are made
// by deploy/base-images. What the test started is gone at its end: containers, networks, volumes, the engine. Images
// stay: the engine's cache makes the next run short.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort, top } from './house.mjs'
import { until } from './wait.mjs'

export const publicUrl = 'http://nginx:8080/hooks/sms/sms-demo' // deploy/compose/sms.yaml: what the provider signs
const answers = (program, args) => spawnSync(program, args, { stdio: 'ignore', timeout: 20000 }).status === 0
const isEngineUp = () => answers('docker', ['version'])

// { stop } of an engine that answers; undefined where there is none, and none can be started.
export async function startEngine() {
  if (isEngineUp()) return { stop: async () => {} }
  if (process.getuid() !== 0 || !answers('dockerd', ['--version'])) return undefined
  const log = fs.openSync(path.join(os.tmpdir(), `guichet-dockerd-${process.pid}.log`), 'w')
  const child = spawn('dockerd', [], { stdio: ['ignore', log, log] })
  fs.closeSync(log)
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
    fs.rmSync(path.join(os.tmpdir(), `guichet-dockerd-${process.pid}.log`), { force: true })
  }
  try {
    await until('dockerd answers', () => child.exitCode !== null || isEngineUp(), { timeoutMs: 60000, everyMs: 200 })
  } catch { /* it never will */ }
  if (child.exitCode === null && isEngineUp()) return { stop }
  await stop()
  return undefined
}

// docker-compose, or the plugin of docker; undefined where there is neither.
export function composeCommand() {
  if (answers('docker-compose', ['version'])) return ['docker-compose']
  return answers('docker', ['compose', 'version']) ? ['docker', 'compose'] : undefined
}

export class Containers {
  constructor() {
    this.project = `guichet-test-${process.pid}`
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'guichet-containers-'))
    this.compose = composeCommand()
  }

  run(program, args, options = {}) {
    const result = spawnSync(program, args, { encoding: 'utf8', cwd: top, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 64 << 20, ...options, env: { ...process.env, ...this.environment } })
    if (result.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${result.status ?? result.signal ?? result.error}\n${`${result.stdout}${result.stderr}`.slice(-4000)}`)
    return result.stdout
  }
  docker(...args) { return this.run('docker', args).trim() }
  composed(...args) { return this.run(this.compose[0], [...this.compose.slice(1), '-p', this.project, '--profile', 'demo', ...args]) }
  secret(name) { return fs.readFileSync(path.join(this.environment.GUICHET_SECRETS, name), 'utf8').trim() }

  // Writes a file that a container can mount and read.
  file(name, bytes) {
    const file = path.join(this.dir, name)
    fs.writeFileSync(file, bytes)
    return file
  }

  // Milliseconds it took. The image, from the working tree; --network host: the build needs Debian's mirrors, however
  // little of the network this machine gives to containers.
  build() {
    const start = Date.now()
    if (answers('mmdebstrap', ['--version'])) this.run('deploy/base-images', [])
    this.run('docker', ['build', '--force-rm', '--network', 'host', '-f', 'deploy/Dockerfile', '-t', 'guichet:test', '.'])
    return Date.now() - start
  }

  async start() {
    const port = await freePort()
    this.url = `http://127.0.0.1:${port}`
    this.environment = { GUICHET_LISTEN: `127.0.0.1:${port}`, GUICHET_SECRETS: path.join(this.dir, 'secrets'), GUICHET_IMAGE: 'guichet:test' }
    this.run('deploy/secrets', [this.environment.GUICHET_SECRETS])
    return this
  }

  // Milliseconds until all are healthy and the demo has said what to try.
  async up() {
    const start = Date.now()
    this.composed('up', '-d')
    await this.healthy()
    await until('the demo is done', () => this.inspect('demo').State.Status === 'exited', { timeoutMs: 60000, everyMs: 200 })
    return Date.now() - start
  }

  all() {
    const ids = this.docker('ps', '-aq', '--filter', `label=com.docker.compose.project=${this.project}`).split('\n').filter(Boolean)
    return ids.length === 0 ? [] : JSON.parse(this.docker('inspect', ...ids))
  }
  inspect(service) {
    const found = this.all().find((container) => container.Config.Labels['com.docker.compose.service'] === service)
    if (!found) throw new Error(`no container of ${service}`)
    return found
  }
  address(service) { return this.inspect(service).NetworkSettings.Networks[`${this.project}_inside`].IPAddress }
  log(service) { return this.composed('logs', '--no-color', service) }

  async healthy() {
    await until('all are healthy', () => {
      const bad = this.all().filter((container) => container.State.Health && container.State.Health.Status !== 'healthy')
      if (bad.length > 0) throw new Error(bad.map((container) => `${container.Name}: ${JSON.stringify(container.State.Health.Log.at(-1)?.Output ?? container.State.Health.Status)}`).join('; '))
      return true
    }, { timeoutMs: 120000, everyMs: 300 })
  }

  // Starts a service again on another address: others take the free ones meanwhile, the old one among them.
  async move(service) {
    const { Id: id, Image: image } = this.inspect(service)
    const before = this.address(service)
    const squatters = []
    this.docker('stop', '-t', '20', id)
    try {
      while (squatters.length < 16) {
        squatters.push(this.docker('run', '-d', '--network', `${this.project}_inside`, '--no-healthcheck', image, 'sleep', '600'))
        const [squatter] = JSON.parse(this.docker('inspect', squatters.at(-1)))
        if (squatter.NetworkSettings.Networks[`${this.project}_inside`].IPAddress === before) break
      }
      this.docker('start', id)
      return { before, after: this.address(service) }
    } finally {
      spawnSync('docker', ['rm', '-f', '-v', ...squatters], { stdio: 'ignore' })
    }
  }

  async down() {
    this.composed('down', '-v', '--remove-orphans', '-t', '20')
  }

  async stop() {
    if (this.environment) await this.down()
    fs.rmSync(this.dir, { recursive: true, force: true })
  }
}
