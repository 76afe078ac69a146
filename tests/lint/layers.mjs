// layers - who may include what: a layer its own folder and those above it, a service no other service,
// and each foreign library only the one module that hides it.
import { files, isC, lines, read } from './sources.mjs'

const order = ['core', 'ops', 'io', 'service']
// Foreign header -> the files that may include it.
const owners = [
  [/^nng\//, /^libcommon\/io\/mesh/],
  [/^libpq-fe\.h|^postgres/, /^libcommon\/io\/db/],
  [/^curl\//, /^libcommon\/io\/http_client/],
  [/^microhttpd\.h/, /^libcommon\/io\/http_server/],
  [/^wslay\//, /^libcommon\/io\/websocket|^services\/ctl\/socket/],
  [/^uv\.h/, /^libcommon\/io\/(loop|worker)/],
  [/^sqlite3\.h/, /^libcommon\/io\/spool/],
  [/^yaml\.h/, /^libcommon\/ops\/config/],
  [/^json-c\//, /^libcommon\/core\/(json|pbjson)/],
  [/^sodium\.h/, /^services\/routing\/(login|password)/]
]

function home(name) {
  const layer = /^libcommon\/(\w+)\//.exec(name)
  if (layer) return { kind: 'layer', name: layer[1] }
  const service = /^services\/(connectors\/\w+|\w+)\//.exec(name)
  return service ? { kind: 'service', name: service[1] } : undefined
}

export function check(root) {
  const findings = []
  const all = files(root)
  const headers = new Map(all.filter((file) => /^services\/.*\.h$/.test(file)).map((file) => [file.split('/').pop(), home(file)?.name]))
  for (const name of all.filter(isC)) {
    const at = home(name)
    if (!at) continue
    lines(read(root, name)).forEach((line, index) => {
      const found = /^\s*#\s*include\s*[<"]([^>"]+)[>"]/.exec(line)
      if (!found) return
      const say = (text) => findings.push(`${name}:${index + 1}: includes ${found[1]}: ${text}`)
      const layer = /^(core|ops|io|service)\//.exec(found[1])
      if (layer && at.kind === 'layer' && order.indexOf(layer[1]) > order.indexOf(at.name)) say(`a lower layer than ${at.name}`)
      if (/^\.\.?\//.test(found[1])) say('a relative path')
      if (!layer && at.kind === 'service' && line.includes('"') && !found[1].startsWith('guichet/')) {
        const owner = headers.get(found[1])
        if (owner && owner !== at.name && !all.includes(`services/${at.name}/${found[1]}`)) say(`a header of the service ${owner}`)
      }
      for (const [header, owner] of owners) if (header.test(found[1]) && !owner.test(name) && !/_test\.c$/.test(name)) say('a library that another module hides')
    })
  }
  return findings
}

export const seed = { 'libcommon/core/seed.c': '#include <libpq-fe.h>\n#include "io/loop.h"\n' }
