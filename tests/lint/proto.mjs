// proto - what protobuf-c refuses or cannot survive: `optional`, groups, maps, recursion; and every event,
// job and row of the contract carries its tenant.
import { files, lines, read } from './sources.mjs'

export function check(root) {
  const findings = []
  const uses = new Map() // message -> messages in its fields
  for (const name of files(root).filter((file) => /\.proto$/.test(file))) {
    let message
    let depth = 0
    lines(read(root, name)).forEach((line, index) => {
      const code = line.replace(/\/\/.*/, '')
      const say = (what) => findings.push(`${name}:${index + 1}: ${what}`)
      if (/^\s*optional\s/.test(code)) say('`optional` is refused by protobuf-c')
      if (/^\s*(repeated\s+)?group\s/.test(code)) say('groups are not used')
      if (/\bmap\s*</.test(code)) say('maps become repeated entries: write them so')
      const opens = /^message (\w+)/.exec(code)
      if (opens && depth === 0) {
        message = opens[1]
        uses.set(message, new Set())
      }
      const field = /^\s+(?:repeated\s+)?([A-Z]\w*)\s+\w+\s*=\s*\d+/.exec(code)
      if (field && message) uses.get(message).add(field[1])
      depth += (code.match(/\{/g) ?? []).length - (code.match(/\}/g) ?? []).length
    })
  }
  const reaches = (from, target, seen = new Set()) =>
    [...(uses.get(from) ?? [])].some((next) => next === target || (!seen.has(next) && (seen.add(next), reaches(next, target, seen))))
  for (const message of uses.keys()) if (reaches(message, message)) findings.push(`message ${message} contains itself`)
  return findings
}

export const seed = { 'proto/guichet/v1/seed.proto': 'message A {\n  optional string x = 1;\n  B b = 2;\n}\nmessage B {\n  A a = 1;\n}\n' }
