// sources.mjs - the project's own files, and C files taken apart far enough for the lints.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

// Paths of all files below root: what git tracks and what it would, or everything where there is no git.
export function files(root) {
  try {
    return execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split('\n')
      .filter((name) => name && fs.existsSync(path.join(root, name)))
  } catch {
    return fs.readdirSync(root, { recursive: true }).filter((name) => fs.statSync(path.join(root, name)).isFile())
  }
}

export const read = (root, name) => fs.readFileSync(path.join(root, name), 'utf8')
export const lines = (text) => text.replace(/\n$/, '').split('\n')
export const isC = (name) => /\.[ch]$/.test(name)
export const isTest = (name) => /_test\.c$/.test(name)

// Functions of a C file: { line, length, name }. A function opens with a brace in column one.
export function functions(text) {
  const found = []
  let open = 0
  let header = ''
  lines(text).forEach((line, index) => {
    if (/^\{/.test(line)) open = index + 1
    else if (/^\}/.test(line) && open > 0) {
      const name = /(\w+)\s*\([^()]*(\([^()]*\)[^()]*)*\)\s*$/.exec(header)
      if (name) found.push({ line: open, length: index + 1 - open - 1, name: name[1] })
      open = 0
      header = ''
    } else if (open === 0) header = /[;}]\s*$|^#|^\s*$/.test(line) ? '' : `${header} ${line}`
  })
  return found
}
