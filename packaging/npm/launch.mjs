// Becomes the program of this system's package. From Node 22.15 on the process is replaced
// (process.execve), so that no Node process stands between a parent and its watchdog.
// Before, and on Windows, it is a child, which is told whose deaths count.
import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'

const scope = '@leash-watchdog'

export function launch(program) {
  const file = find(program)
  let args = process.argv.slice(2)
  const descriptors = inherited(args)
  // What Node inherited above 2 is closed by execve, and so a child gets it by name.
  const replace = typeof process.execve === 'function' && process.platform !== 'win32' && descriptors.length === 0
  if (program === 'watchdog') args = [...parents(args, replace).map((pid) => `--parent-pid=${pid}`), ...args]
  if (replace) process.execve(file, [program, ...args], process.env)
  child(file, args, descriptors)
}

function fail(why) {
  process.stderr.write(`leash: ${why}\n`)
  process.exit(125)
}

function find(program) {
  const name = `${process.platform}-${process.arch}`
  try {
    const json = createRequire(import.meta.url).resolve(`${scope}/${name}/package.json`)
    return join(dirname(json), 'bin', process.platform === 'win32' ? `${program}.exe` : program)
  } catch {
    fail(`${scope}/${name} is not installed: install without --omit=optional, on a system that has a package`)
  }
}

// own are the watchdog's arguments, without the worker's command.
function own(args) {
  const end = args.indexOf('--')
  return end < 0 ? args : args.slice(0, end)
}

// values lists those of a flag, given as --flag VALUE or --flag=VALUE.
function values(args, flag) {
  const list = []
  own(args).forEach((word, i, all) => {
    if (word === flag && i + 1 < all.length) list.push(all[i + 1])
    else if (word.startsWith(flag + '=')) list.push(word.slice(flag.length + 1))
  })
  return list
}

function inherited(args) {
  return ['--parent-fd', '--log-fd', '--keep-fd']
    .flatMap((flag) => values(args, flag))
    .flatMap((text) => text.split(','))
    .filter((text) => /^[0-9]{1,4}$/.test(text))
    .map(Number)
    .filter((fd) => fd > 2)
}

// parents are the processes whose deaths must count beside those that the caller named.
function parents(args, replace) {
  const word = own(args).find((text) => !text.startsWith('-'))
  if (word === 'doctor' || own(args).some((text) => ['--help', '-h', '--version'].includes(text))) return []
  const named = values(args, '--parent-pid').length > 0 || values(args, '--parent-fd').length > 0
  const list = []
  if (!named) {
    if (process.env.LEASH_PARENT_PID) {
      if (!replace) list.push(...process.env.LEASH_PARENT_PID.split(',')) // a flag goes before it
    } else {
      const chain = callers()
      // When it is replaced, the process that called it is the watchdog's parent anyway.
      if (!replace || chain.length > 1) list.push(...chain)
    }
  }
  if (!replace) list.push(process.pid)
  return list
}

// callers are the process that called this one and, if that was npm or the shell of npm, all
// up to the one that called npm: it is the one whose death is meant.
function callers() {
  const list = [process.ppid]
  if (!process.env.npm_execpath && !process.env.npm_config_user_agent) return list
  for (let i = 0; i < 8; i++) {
    const one = look(list.at(-1))
    if (!one) break
    const shell = /^(\S*\/)?(ba|da|z)?sh\0?( -c|\0-c)/.test(one.command) && look(one.parent)
    const manager = /^(\S*\/)?(npm|npx|pnpm|yarn|yarnpkg|bunx)(\s|\0|$)|(npm|npx|pnpm|yarn)(-cli)?\.c?js(\s|\0|$)/
    if (!manager.test(one.command) && !(shell && manager.test(shell.command))) break
    if (one.parent <= 1) {
      if (one.parent === 1) list.push(1)
      break
    }
    list.push(one.parent)
  }
  return list
}

// look tells the parent and the command line of a process, which npm overwrites with a title.
function look(pid) {
  try {
    if (process.platform === 'linux') {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
      return { parent, command: readFileSync(`/proc/${pid}/cmdline`, 'latin1') }
    }
    if (process.platform === 'win32') return undefined
    const line = execFileSync('ps', ['-o', 'ppid=,args=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    const [, parent, command] = /^(\d+)\s+(.*)$/.exec(line)
    return { parent: Number(parent), command }
  } catch {
    return undefined // it has ended, and the watchdog will say so
  }
}

function child(file, args, descriptors) {
  const stdio = ['inherit', 'inherit', 'inherit']
  for (let fd = 3; fd <= Math.max(2, ...descriptors); fd++) stdio.push(descriptors.includes(fd) ? fd : 'ignore')
  const worker = spawn(file, args, { stdio, windowsHide: true })
  worker.on('error', (err) => fail(err.message))
  const terminal = process.stdin.isTTY // it sends INT and QUIT to the watchdog itself
  for (const name of ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGBREAK']) {
    if (!(name in constants.signals)) continue
    process.on(name, () => {
      if (!(terminal && (name === 'SIGINT' || name === 'SIGQUIT' || name === 'SIGBREAK'))) worker.kill(name)
    })
  }
  worker.on('exit', (code, signal) => {
    if (!signal) process.exit(code)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
}
