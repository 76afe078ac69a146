// sizes - functions of at most 70 lines, files of at most 600, headers of 150, main.c of 60 (CONTRIBUTING.md, Conventions).
import { files, functions, isC, isTest, lines, read } from './sources.mjs'

// Headers that only tests include hold code of tests, and count as such.
function testHeaders(root) {
  const all = files(root).filter(isC)
  const includers = new Map()
  for (const name of all)
    for (const found of read(root, name).matchAll(/^#include "([^"]+)"/gm)) {
      const header = all.find((file) => file.endsWith(`/${found[1]}`))
      if (header) includers.set(header, [...(includers.get(header) ?? []), name])
    }
  const kits = new Set()
  for (let isGrowing = true; isGrowing; ) {
    isGrowing = false
    for (const [header, users] of includers)
      if (!kits.has(header) && users.every((user) => isTest(user) || kits.has(user))) isGrowing = Boolean(kits.add(header))
  }
  return kits
}

export function check(root) {
  const findings = []
  const kits = testHeaders(root)
  for (const name of files(root).filter((file) => isC(file) || /\.(sql|mjs)$/.test(file))) {
    const text = read(root, name)
    const count = lines(text).length
    const limit = /(^|\/)main\.c$/.test(name) ? 60 : /\.h$/.test(name) && !kits.has(name) ? 150 : 600
    if (count > limit) findings.push(`${name}: ${count} lines, at most ${limit}`)
    if (!/\.c$/.test(name)) continue
    for (const fn of functions(text)) if (fn.length > 70) findings.push(`${name}:${fn.line}: ${fn.name} has ${fn.length} lines, at most 70`)
  }
  return findings
}

export const seed = { 'libcommon/core/seed.c': `int f(void)\n{\n${'    g();\n'.repeat(71)}}\n` }
