import { EventEmitter } from "node:events";

/** A duration as on the command line: "500ms", "3s", "1m30s". */
export type Duration = string;

/** Flags that each worker may have of its own; docs/watchdog.md describes them. */
export interface Flags {
  grace?: Duration;
  stopSignal?: string;
  killMode?: "mixed" | "group";
  heartbeat?: "off" | "notify";
  heartbeatInterval?: Duration;
  heartbeatTimeout?: Duration;
  maxMissed?: number;
  startupTimeout?: Duration;
  /** Any other flag, in camel case: it becomes the parameter of that name. */
  [flag: string]: unknown;
}

export interface CallOptions {
  /** The deadline of this call, in milliseconds. */
  timeout?: number;
}

export interface GuardOptions extends Flags, CallOptions {
  /** 1 to 64 of letters, digits, ".", "_" and "-"; else one is made up. */
  workerId?: string;
  /** Ends the worker when it is aborted. */
  signal?: AbortSignal;
}

export type Output = "lines" | "null" | "stderr" | { file: string };

export interface RunOptions extends GuardOptions {
  /** Added to the pool's environment; null removes. */
  env?: Record<string, string | null>;
  cwd?: string | URL;
  stdout?: Output;
  stderr?: Output;
  restart?: "never" | "on-failure" | "always";
  maxRestarts?: number;
  memoryMax?: string;
  memoryHigh?: string;
  tasksMax?: number;
  cpuQuota?: string;
  oomScoreAdjust?: number;
  limits?: "require" | "best-effort";
}

export interface StopOptions extends CallOptions {
  grace?: Duration;
  stopSignal?: string;
}

export interface PoolOptions {
  /** The path of the program; else LEASH_WATCHDOG, beside this package, PATH. */
  watchdog?: string;
  /** Call the reaper before the pool is started: true, or its path. */
  reaper?: boolean | string;
  runId?: string;
  /** More processes whose death is the parent's. */
  parentPids?: number[];
  /** Added to the environment of the pool and its workers. */
  env?: Record<string, string>;
  cwd?: string;
  /** Flags for every worker that has none of its own. */
  defaults?: Record<string, string | number>;
  /** Milliseconds until the pool must have started: 30000. */
  startTimeout?: number;
  /** The deadline of each call, in milliseconds: 30000; a stop has the grace period besides. */
  timeout?: number;
  /** How much of each stream of a worker is kept until it is read, in characters: 8 Mi. */
  keep?: number;
}

export interface Exit {
  /** "exited", "signal", "core_dumped", "oom_killed", "memory_max", "hung", "not_ready", "asked", "parent_died", "unknown" */
  cause: string;
  exitCode?: number;
  signal?: string;
  /** As in watchdog.stopped; "released" of a guarded worker that was. */
  outcome: string;
  survivors?: number;
  verified?: boolean;
  usage: { cpuUserMs?: number; cpuSystemMs?: number; memoryPeakBytes?: number; scope?: "tree" | "worker" };
}

export interface Entry {
  workerId: string;
  pid: number;
  state: "running" | "ready" | "stopping" | "restarting";
  uptimeMs: number;
  restarts: number;
  processes: number;
}

/** A record of the watchdog, with flat keys. */
export type EventRecord = { event: string; time: string; level: string; msg: string; [key: string]: unknown };

export declare class LeashError extends Error {
  /** JSON-RPC's code, where the pool refused a request. */
  code?: number;
  data?: any;
}
export declare class DeadlineError extends LeashError {}
export declare class PoolDiedError extends LeashError {}
export declare class WorkerEndedError extends LeashError {
  exit: Exit;
}

export declare class Lines implements AsyncIterable<string> {
  /** How many lines were dropped because nobody read them in time. */
  readonly lost: number;
  [Symbol.asyncIterator](): AsyncIterator<string>;
}

/** One `watchdog pool`. Events: "event" (a record), "end" (the error, if there is one). */
export declare class Pool extends EventEmitter {
  constructor(options?: PoolOptions);
  readonly started: Promise<this>;
  readonly ended: Promise<{ survivors: boolean }>;
  readonly pid: number | undefined;
  readonly runId: string | undefined;
  readonly version: string | undefined;
  readonly workers: Worker[];
  run(argv: readonly string[], options?: RunOptions): Promise<Worker>;
  guard(pid: number, options?: GuardOptions): Promise<Worker>;
  list(options?: CallOptions): Promise<Entry[]>;
  stopAll(options?: CallOptions & { grace?: Duration }): Promise<{ ended: number; survivors: number }>;
  close(options?: CallOptions & { grace?: Duration }): Promise<{ survivors: boolean }>;
  renew(): Pool;
}

/** Events: "ready", "output", "hang", "restart", "exit" (how it ended, or undefined and the error), "event". */
export declare class Worker extends EventEmitter implements AsyncIterable<string> {
  readonly id: string;
  readonly pid: number;
  readonly containment: string;
  readonly restarts: number;
  readonly exit: Exit | undefined;
  readonly ready: Promise<this>;
  readonly exited: Promise<Exit>;
  readonly stdout: Lines;
  readonly stderr: Lines;
  waitReady(options?: CallOptions): Promise<this>;
  wait(options: Required<CallOptions>): Promise<Exit>;
  stop(options?: StopOptions): Promise<Exit>;
  kill(signal?: string, options?: CallOptions): Promise<void>;
  release(options?: CallOptions): Promise<void>;
  [Symbol.asyncIterator](): AsyncIterator<string>;
}
