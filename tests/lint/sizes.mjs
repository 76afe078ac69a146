// sizes - functions of at most 70 lines, files of at most 600, headers of 150, main.c of 60 (docs/style in CONTRIBUTING.md).
import { files, functions, isC, lines, read } from './sources.mjs'

export function check(root) {
  const findings = []
  for (const name of files(root).filter((file) => isC(file) || /\.(sql|mjs)$/.test(file))) {
    const text = read(root, name)
    const count = lines(text).length
    const limit = /(^|\/)main\.c$/.test(name) ? 60 : /\.h$/.test(name) ? 150 : 600
    if (count > limit) findings.push(`${name}: ${count} lines, at most ${limit}`)
    if (!/\.c$/.test(name)) continue
    for (const fn of functions(text)) if (fn.length > 70) findings.push(`${name}:${fn.line}: ${fn.name} has ${fn.length} lines, at most 70`)
  }
  return findings
}

export const seed = { 'libcommon/core/seed.c': `int f(void)\n{\n${'    g();\n'.repeat(71)}}\n` }
