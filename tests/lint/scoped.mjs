// scoped - what is cleaned up by itself at the end of its block has a value before the first way out of it:
// an early return would free whatever the stack held.
import { files, isC, lines, read } from './sources.mjs'

const declaration = /^\s*SCOPED_(\w+)\s+([^;]*);/
const indent = (line) => line.length - line.trimStart().length
// `continue` and `break` deeper inside belong to a loop of the block's own.
const leaves = (line, at) => /\b(return|goto)\b/.test(line) || (/\b(continue|break)\b/.test(line) && indent(line) <= at + 4)

export function check(root) {
  const findings = []
  for (const name of files(root).filter((file) => /\.c$/.test(file) && isC(file))) {
    const all = lines(read(root, name))
    all.forEach((line, index) => {
      const found = declaration.exec(line)
      if (!found) return
      for (const part of found[2].split(',')) {
        const variable = part.trim().replace(/^\*/, '')
        if (/[=()]/.test(part) || !/^\w+$/.test(variable)) continue
        for (const later of all.slice(index + 1)) {
          if (later.includes(`buf_init(&${variable},`)) break
          if (!leaves(later, indent(line)) && !/^\}/.test(later)) continue
          findings.push(`${name}:${index + 1}: SCOPED_${found[1]} ${variable} can be left before it has a value`)
          break
        }
      }
    })
  }
  return findings
}

export const seed = {
  'libcommon/core/seed.c': 'bool f(void)\n{\n    SCOPED_BUF buf;\n\n    if (g())\n        return false;\n    buf_init(&buf, 10);\n    return true;\n}\n'
}
