// house.mjs - the whole of Guichet as real processes on ports of its own, with its own PostgreSQL and nginx.
//
// Each test file builds one house. Every process can be killed, stopped and started again, with a failpoint
// or other settings; its log is kept and shown when a test fails.
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { until } from './wait.mjs'

export const top = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const bin = process.env.GUICHET_TEST_BIN ?? path.join(top, 'build-test/bin')

const handed = new Set()
// A port nobody listens on now, below the range that outgoing connections draw from.
export async function freePort() {
  for (;;) {
    const port = 10000 + Math.floor(Math.random() * 20000)
    if (handed.has(port)) continue
    handed.add(port)
    const isFree = await new Promise((resolve) => {
      const server = net.createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (isFree) return port
  }
}

const yaml = (value, indent = '') =>
  Object.entries(value)
    .map(([key, item]) => {
      if (Array.isArray(item) && item.length > 0 && typeof item[0] === 'object') {
        const rows = item.map((row) => {
          const text = yaml(row, `${indent}    `)
          return `${indent}  - ${text.slice(indent.length + 4)}`
        })
        return `${indent}${key}:\n${rows.join('')}`
      }
      return `${indent}${key}: ${JSON.stringify(item)}\n`
    })
    .join('')

export class House {
  // options: contextReplicas, routingReplicas, settings: { context: {…}, routing: {…}, gateway: {…}, sms: {…} },
  // tenants: names, each with a queue "support" and an SMS account sms-<tenant>; account: more of its settings.
  constructor(options = {}) {
    this.options = { contextReplicas: 1, routingReplicas: 1, tenants: ['demo', 'other'], settings: {}, ...options }
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'guichet-house-'))
    fs.chmodSync(this.dir, 0o755)
    this.processes = new Map()
    this.commands = new Map()
  }

  secret(name, value = randomBytes(24).toString('hex')) {
    const file = path.join(this.dir, `secret-${name}`)
    if (!fs.existsSync(file)) fs.writeFileSync(file, `${value}\n`, { mode: 0o600 })
    return `file:${file}`
  }
  secretValue(name) {
    return fs.readFileSync(path.join(this.dir, `secret-${name}`), 'utf8').trim()
  }

  async start() {
    this.databasePort = await freePort()
    this.databaseUrl = execFileSync(path.join(top, 'tests/kit/postgres'), ['start', path.join(this.dir, 'postgres'), String(this.databasePort)], {
      encoding: 'utf8'
    }).trim()
    this.secret('context_database_url', this.databaseUrl)
    this.secret('routing_database_url', this.databaseUrl)
    this.ctl(['migrate', '--context-database', this.secret('context_database_url'), '--routing-database', this.secret('routing_database_url')])
    this.providerPort ??= await freePort()
    await this.configure()
    for (const name of this.commands.keys()) this.spawn(name)
    for (const name of this.commands.keys()) await this.ready(name)
    this.pool = new pg.Pool({ connectionString: this.databaseUrl, max: 4 })
    this.pool.on('error', () => {})
    return this
  }

  async configure() {
    const { contextReplicas, routingReplicas, settings, tenants } = this.options
    const tcp = (port) => `tcp://127.0.0.1:${port}`
    const contexts = []
    for (let i = 0; i < contextReplicas; i++)
      contexts.push({ centre: await freePort(), gateway: await freePort(), blobs: await freePort(), publish: await freePort(), ops: await freePort() })
    const routings = []
    for (let i = 0; i < routingReplicas; i++)
      routings.push({
        connector: await freePort(), pull: await freePort(), gateway: await freePort(), ctl: await freePort(), blobs: await freePort(),
        publish: await freePort(), ops: await freePort()
      })
    this.ctlAddress = tcp(routings[0].ctl)
    this.doorbellAddress = tcp(routings[0].publish)
    this.apiPort = await freePort()
    this.eventsPort = await freePort()
    this.hookPort = await freePort()
    this.port = await freePort()
    this.url = `http://127.0.0.1:${this.port}`
    // The same door under another name: another origin.
    this.mediaUrl = `http://localhost:${this.port}/media`

    contexts.forEach((ports, i) =>
      this.service('context', i, contextReplicas, {
        database_url: this.secret('context_database_url'),
        listen_centre: tcp(ports.centre),
        listen_gateway: tcp(ports.gateway),
        listen_blobs: tcp(ports.blobs),
        publish: tcp(ports.publish),
        ops_listen: `127.0.0.1:${ports.ops}`,
        ...settings.context
      })
    )
    routings.forEach((ports, i) =>
      this.service('routing', i, routingReplicas, {
        database_url: this.secret('routing_database_url'),
        listen_connector: tcp(ports.connector),
        listen_pull: tcp(ports.pull),
        listen_gateway: tcp(ports.gateway),
        listen_ctl: tcp(ports.ctl),
        listen_blobs: tcp(ports.blobs),
        publish: tcp(ports.publish),
        context: contexts.map((context) => tcp(context.centre)),
        context_blobs: contexts.map((context) => tcp(context.blobs)),
        context_doorbells: contexts.map((context) => tcp(context.publish)),
        media_key: this.secret('media_key'),
        media_base_url: this.mediaUrl,
        token_key: this.secret('token_key'),
        ops_listen: `127.0.0.1:${ports.ops}`,
        tenants: tenants.map((name) => ({ name, queues: [{ name: 'support', accounts: [`sms-${name}`] }, { name: 'billing', accounts: [] }] })),
        connectors: [{ name: 'sms-1', channel: 'sms', secret: this.secret('sms_connector'), tenants }],
        ...settings.routing
      })
    )
    this.service('gateway', 0, 1, {
      listen: `127.0.0.1:${this.apiPort}`,
      listen_events: `127.0.0.1:${this.eventsPort}`,
      routing: routings.map((routing) => tcp(routing.gateway)),
      routing_doorbells: routings.map((routing) => tcp(routing.publish)),
      context: contexts.map((context) => tcp(context.gateway)),
      context_blobs: contexts.map((context) => tcp(context.blobs)),
      media_key: this.secret('media_key'),
      media_base_url: this.mediaUrl,
      ticket_key: this.secret('ticket_key'),
      events_url: `ws://127.0.0.1:${this.port}/v1/events`,
      allowed_origins: ['http://localhost:*', 'https://desk.example.com'],
      ops_listen: `127.0.0.1:${await freePort()}`,
      ...settings.gateway
    })
    this.service('sms', 0, 1, {
      connector: 'sms-1',
      connector_secret: this.secret('sms_connector'),
      hook_listen: `127.0.0.1:${this.hookPort}`,
      routing: routings.map((routing) => tcp(routing.connector)),
      routing_pull: routings.map((routing) => tcp(routing.pull)),
      routing_blobs: routings.map((routing) => tcp(routing.blobs)),
      ops_listen: `127.0.0.1:${await freePort()}`,
      allow_private_addresses: true,
      allow_plain_http: true,
      accounts: tenants.map((tenant) => this.account(tenant)),
      ...settings.sms
    })
    this.nginx()
  }

  // Both tenants have the same number and the same provider account: only the account's id differs.
  account(tenant) {
    return {
      id: `sms-${tenant}`,
      tenant,
      address: '+33199000000',
      display_name: `SMS of ${tenant}`,
      public_url: `${this.url}/hooks/sms/sms-${tenant}`,
      account_sid: 'ACtest0000000000000000000000000000',
      auth_token: this.secret(`auth_token_${tenant}`),
      api_base: `http://127.0.0.1:${this.providerPort}/${tenant}`,
      sends_per_second: 500,
      ...this.options.account
    }
  }

  // A turn of the loop past its limit ends the service (GUICHET_LOOP_ABORT). Far above what our code takes, and far
  // below what blocks: sanitizers and a busy virtual machine, whose stolen time nobody can see, cost tenths of it.
  service(name, index, replicas, settings) {
    const config = { loop_turn_max_ms: '1s', ...settings }
    const id = replicas > 1 ? `${name}${index + 1}` : name
    const file = path.join(this.dir, `${id}.yaml`)
    fs.writeFileSync(file, yaml(config))
    this.commands.set(id, { config, file, program: path.join(bin, `guichet-${name}`), args: ['--config', file], ops: config.ops_listen })
  }

  // Other settings from its next start on; undefined takes one back to the default.
  configureAgain(id, settings) {
    const command = this.commands.get(id)
    command.config = Object.fromEntries(Object.entries({ ...command.config, ...settings }).filter(([, value]) => value !== undefined))
    fs.writeFileSync(command.file, yaml(command.config))
  }

  nginx() {
    fs.mkdirSync(path.join(this.dir, 'run'), { recursive: true })
    fs.mkdirSync(path.join(this.dir, 'log'), { recursive: true })
    const text = fs
      .readFileSync(path.join(top, 'deploy/demo/nginx.conf'), 'utf8')
      .replaceAll('@VAR@', this.dir)
      .replaceAll('@PORT@', this.port)
      .replaceAll('127.0.0.1:8081', `127.0.0.1:${this.apiPort}`)
      .replaceAll('127.0.0.1:8082', `127.0.0.1:${this.eventsPort}`)
      .replaceAll('127.0.0.1:8090', `127.0.0.1:${this.hookPort}`)
      .replace('daemon on;', process.getuid() === 0 ? 'daemon off; user root;' : 'daemon off;')
    const file = path.join(this.dir, 'nginx.conf')
    fs.writeFileSync(file, text)
    this.commands.set('nginx', { program: '/usr/sbin/nginx', args: ['-c', file, '-e', path.join(this.dir, 'log/nginx.log')] })
  }

  spawn(name, { failpoint, env = {} } = {}) {
    const { program, args } = this.commands.get(name)
    const log = fs.openSync(path.join(this.dir, `${name}.log`), 'a')
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      env: {
        PATH: process.env.PATH,
        GUICHET_LOG_FORMAT: 'json',
        GUICHET_LOOP_ABORT: process.env.GUICHET_LOOP_ABORT ?? '1',
        ASAN_OPTIONS: 'detect_leaks=1:abort_on_error=0',
        LSAN_OPTIONS: `suppressions=${path.join(top, 'tests/kit/leaks')}:print_suppressions=0`,
        UBSAN_OPTIONS: 'print_stacktrace=1',
        ...(failpoint ? { GUICHET_FAILPOINT: failpoint } : {}),
        ...env
      }
    })
    fs.closeSync(log)
    child.ended = new Promise((resolve) => {
      const end = (how) => {
        child.end = how
        resolve(how)
      }
      child.once('exit', (code, signal) => end({ code, signal }))
      child.once('error', (error) => end({ code: 127, signal: null, error: error.message }))
    })
    this.processes.set(name, child)
    return child
  }

  // Ready: /readyz says so (nginx: it answers).
  async ready(name, timeoutMs = 30000) {
    const { ops } = this.commands.get(name)
    const url = ops ? `http://${ops}/readyz` : `${this.url}/v1/openapi.yaml`
    await until(
      `${name} ready`,
      async () => {
        const child = this.processes.get(name)
        if (child.end) throw new Error(`${name} ended with ${JSON.stringify(child.end)}: ${this.log(name).slice(-2000)}`)
        const answer = await fetch(url, { signal: AbortSignal.timeout(2000) })
        const text = await answer.text()
        if (answer.status !== 200) throw new Error(text)
        return true
      },
      { timeoutMs }
    )
  }

  async kill(name, signal = 'SIGKILL') {
    const child = this.processes.get(name)
    child.isExpected = true
    child.kill(signal)
    if (signal === 'SIGSTOP' || signal === 'SIGCONT') return undefined
    return child.ended
  }

  async restart(name, options) {
    if (!this.processes.get(name).end) await this.kill(name)
    this.spawn(name, options)
    await this.ready(name)
  }

  killDatabase() {
    execFileSync(path.join(top, 'tests/kit/postgres'), ['kill', path.join(this.dir, 'postgres')])
  }
  startDatabase() {
    execFileSync(path.join(top, 'tests/kit/postgres'), ['start', path.join(this.dir, 'postgres'), String(this.databasePort)])
  }

  async sql(text, values = []) {
    return (await this.pool.query(text, values)).rows
  }

  async metrics(name) {
    const { ops } = this.commands.get(name)
    const text = await (await fetch(`http://${ops}/metrics`)).text()
    const values = {}
    for (const line of text.split('\n')) {
      const found = /^([a-z_]+)(\{[^}]*\})? ([-0-9.e+]+)$/i.exec(line)
      if (found) values[found[1] + (found[2] ?? '')] = Number(found[3])
    }
    return values
  }

  ctlEnvironment(more = {}) {
    const ours = { GUICHET_CTL_ROUTING: this.ctlAddress, GUICHET_CTL_DOORBELLS: this.doorbellAddress, GUICHET_CTL_API: this.url, GUICHET_CTL_PROVIDER: this.providerUrl }
    return { PATH: process.env.PATH, ...Object.fromEntries(Object.entries(ours).filter(([, value]) => value)), ...more }
  }

  ctl(args, options = {}) {
    return execFileSync(path.join(bin, 'guichetctl'), args, {
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
      ...options,
      env: this.ctlEnvironment(options.env)
    })
  }

  // The same in the background: { child, out(), err(), say(line), ended }.
  ctlSpawn(args, options = {}) {
    const child = spawn(path.join(bin, 'guichetctl'), args, { stdio: ['pipe', 'pipe', 'pipe'], env: this.ctlEnvironment(options.env) })
    const text = { out: '', err: '' }
    child.stdout.on('data', (data) => { text.out += data })
    child.stderr.on('data', (data) => { text.err += data })
    child.stdin.on('error', () => {})
    const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, ...text })))
    return { child, ended, out: () => text.out, err: () => text.err, say: (line) => child.stdin.write(`${line}\n`) }
  }

  // `guichetctl audit`: { code, text }. Code 1: something is missing.
  audit(tenant = 'demo', more = []) {
    try {
      return { code: 0, text: this.ctl(['audit', '--tenant', tenant, '--since', '24h', ...more]) }
    } catch (error) {
      return { code: error.status, text: `${error.stdout}${error.stderr}` }
    }
  }

  agent(login, { tenant = 'demo', role = 'agent', capacity = 5, queues = '' } = {}) {
    const password = this.secret(`password_${tenant}_${login}`, `pass-${login}-${tenant}`)
    this.ctl(['agent', 'add', login, '--name', login, '--tenant', tenant, '--role', role, '--capacity', String(capacity), '--password', password, ...(queues ? ['--queues', queues] : [])])
    return { tenant, login, password: `pass-${login}-${tenant}` }
  }

  log(name) {
    return fs.existsSync(path.join(this.dir, `${name}.log`)) ? fs.readFileSync(path.join(this.dir, `${name}.log`), 'utf8') : ''
  }

  // Stops all. A service that ended by itself, or that reports a sanitizer's finding, fails the test.
  async stop() {
    const findings = []
    for (const [name, child] of this.processes) {
      if (child.end && !child.isExpected && child.end.code !== 0) findings.push(`${name} ended by itself: ${JSON.stringify(child.end)}`)
    }
    await this.pool?.end().catch(() => {})
    const order = ['nginx', 'sms', 'gateway', ...[...this.processes.keys()].filter((name) => /^(routing|context)/.test(name)).sort().reverse()]
    for (const name of order) {
      const child = this.processes.get(name)
      if (!child || child.end) continue
      child.kill('SIGCONT')
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), 15000)
      const end = await child.ended
      clearTimeout(timer)
      if (end.code !== 0 && name !== 'nginx') findings.push(`${name} did not stop well: ${JSON.stringify(end)}`)
    }
    try {
      execFileSync(path.join(top, 'tests/kit/postgres'), ['stop', path.join(this.dir, 'postgres')], { stdio: 'ignore' })
    } catch { /* it was killed by a test */ }
    for (const name of this.processes.keys()) {
      const found = /(ERROR: \w+Sanitizer|runtime error:)[^]*/.exec(this.log(name))
      if (found) findings.push(`${name}: ${found[0].slice(0, 3000)}`)
    }
    if (findings.length > 0) throw new Error(`${findings.join('\n')}\nlogs are in ${this.dir}`)
    if (!process.env.GUICHET_TEST_KEEP) fs.rmSync(this.dir, { recursive: true, force: true })
  }
}
