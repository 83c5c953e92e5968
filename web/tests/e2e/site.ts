// A real site of the test's own: `wardwatch run`, node and centre in one file, looking at the sample cameras that a
// running `wardwatch demo` serves. It can be killed as by a power cut, and started again with what was on its disk.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Page } from '@playwright/test';

/** The program, and the directory of the demo whose cameras are looked at. */
export const PROGRAM = process.env['WARDWATCH_PROGRAM'];
export const DEMO = process.env['WARDWATCH_DEMO'];
export const PASSWORD = 'ngõ mười hai, nhà số bảy';

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer().once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

/** All that a process started, and what those started. */
async function descendants(pid: number): Promise<number[]> {
  const tasks = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '')));
  const children = lists.join(' ').split(/\s+/).filter(Boolean).map(Number);
  return [...children, ...(await Promise.all(children.map(descendants))).flat()];
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has gone by itself.
  }
}

export class RealSite {
  #process: ChildProcess | null = null;
  #log = '';

  private constructor(readonly dir: string, readonly home: string) {}

  static async make(): Promise<RealSite> {
    const dir = await mkdtemp(join(tmpdir(), 'wardwatch-e2e-'));
    const port = await freePort();
    await writeFile(join(dir, 'plan.png'), PLAN);
    for (const file of await readdir(DEMO!)) {
      if (/\.(toml|password)$/.test(file)) await cp(join(DEMO!, file), join(dir, file));
    }
    const here = (text: string) => text.replaceAll(DEMO!, dir);
    const cameras = here(await readFile(join(dir, 'cameras.toml'), 'utf8'));
    await writeFile(join(dir, 'cameras.toml'), cameras);
    const site = here(await readFile(join(dir, 'wardwatch.toml'), 'utf8'))
      .replace(/(\[centre\.link\]\nlisten = "127\.0\.0\.1:)\d+/, `$1${await freePort()}`)
      .replace(/(\[centre\.web\]\nlisten = "127\.0\.0\.1:)\d+"/, `$1${port}"`);
    const map = '\n[centre.web.map]\nplan = "plan.png"\ncorners = [[21.0180, 105.8248], [21.0212, 105.8290]]\n';
    await writeFile(join(dir, 'wardwatch.toml'), site + map);
    return new RealSite(dir, `http://127.0.0.1:${port}/`);
  }

  async start(): Promise<void> {
    const child = spawn(PROGRAM!, ['run', '--config', join(this.dir, 'wardwatch.toml')], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#process = child;
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { this.#log = (this.#log + String(data)).slice(-20_000); });
    for (let i = 0; i < 240; i += 1) {
      if (child.exitCode !== null) throw new Error(`wardwatch ended:\n${this.#log}`);
      if (await fetch(`${this.home}api/v1/site`).then((r) => r.ok, () => false)) return;
      await new Promise((done) => setTimeout(done, 250));
    }
    throw new Error(`the centre does not answer:\n${this.#log}`);
  }

  /** As a power cut ends it: everything at once, nothing in order. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child?.pid) return;
    const gone = new Promise((done) => child.once('exit', done));
    const below = await descendants(child.pid);
    if (child.exitCode === null) {
      end(child.pid);
      await gone;
    }
    for (const pid of below) end(pid);
    this.#process = null;
  }

  async remove(): Promise<void> {
    await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** A new account, as it is made at the centre's machine: the token of its one-time link. */
  async invite(name: string, role: string): Promise<string> {
    const { stdout } = await promisify(execFile)(PROGRAM!, ['user', 'add', name, '--role', role, '--display-name', `Người ${name}`, '--config', join(this.dir, 'wardwatch.toml')]);
    const token = /#\/link\/([0-9a-f]+)/.exec(stdout)?.[1];
    if (!token) throw new Error(`no link in: ${stdout}`);
    return token;
  }

  at(hash: string): string {
    return `${this.home}#/${hash}`;
  }

  /** GET of the API with the page's own session. */
  async get(page: Page, path: string): Promise<{ status: number; body: any }> {
    const response = await page.request.get(`${this.home}api/v1/${path}`, { timeout: 20_000 });
    const text = await response.text();
    return { status: response.status(), body: /^[[{]/.test(text) ? JSON.parse(text) : text };
  }
}

/** The six digits that an authenticator shows at that moment (RFC 6238). */
export function totp(secret: string, ms: number): string {
  let bits = '';
  for (const c of secret.replace(/[\s=]/g, '').toUpperCase()) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0');
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((b) => parseInt(b, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(ms / 30_000)));
  const hash = createHmac('sha1', key).update(counter).digest();
  const at = hash[19]! & 15;
  return String((hash.readUInt32BE(at) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/** A grey picture, 4 by 4. */
const PLAN = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAAAAACMmsGiAAAAEElEQVR4nGNYAAUMCEYDjAEAdGgHge8IuAQAAAAASUVORK5CYII=', 'base64');
