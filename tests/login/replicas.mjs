// Three real replicas on the loopback, set up by the variables that Pachyderm's chart sets, and the
// command line against any of them.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { text } from 'node:stream/consumers';

import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const PATIENCE_MS = 90_000;
export const ROOT = 'the root token that these tests know';

/// Polls `probe` until it gives something true.
export async function until(what, probe) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited ${PATIENCE_MS / 1000} s in vain for: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/// Ports nobody listens on, below the range that the system hands to outgoing connections.
export async function freePorts(count) {
  const found = [];
  let port = 12_000 + (process.pid * 37) % 15_000;
  while (found.length < count) {
    port += 1;
    const free = await new Promise((done) => {
      const probe = net.createServer();
      probe.once('error', () => done(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
    });
    if (free) found.push(port);
  }
  return found;
}

/// What stands in front of the pages of all replicas, and sends people to one of them.
export class Balancer {
  constructor(port, group) {
    this.url = `http://127.0.0.1:${port}/authorization-code/callback`;
    this.port = port;
    this.group = group;
    this.codes = [];
    this.reset();
    this.server = http.createServer((request, response) => {
      const asked = new URL(request.url, this.url);
      this.change(asked);
      if (asked.searchParams.get('code')) this.codes.push(asked.searchParams.get('code'));
      if (this.holds) {
        response.setHeader('content-type', 'text/html');
        response.end('<h1>held</h1>');
        return;
      }
      const port = this.group.members[this.to].login;
      const onward = http.get({ host: '127.0.0.1', port, path: `${asked.pathname}${asked.search}`, headers: request.headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      onward.on('error', () => { response.statusCode = 502; response.end('<h1>nobody</h1>'); });
    });
  }

  /// To the second one, unchanged.
  reset() {
    this.to = 1;
    this.holds = false;
    this.change = () => {};
  }

  start() {
    return new Promise((done) => this.server.listen(this.port, '127.0.0.1', done));
  }
}

export class Group {
  constructor(muster, protos, ports, folder) {
    this.muster = muster;
    this.folder = folder;
    this.members = [0, 1, 2].map((at) => {
      const [rpc, ops, peer, login] = ports.slice(at * 4, at * 4 + 4);
      return { at, rpc, ops, peer, login, process: null };
    });
    const definition = loadSync('auth/auth.proto', { includeDirs: [protos], keepCase: true });
    this.Auth = grpc.loadPackageDefinition(definition).auth_v2.API;
  }

  static async make(muster, protos) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'muster-login-'));
    const group = new Group(muster, protos, await freePorts(12), folder);
    fs.writeFileSync(group.file('token'), 'a token that the replicas share\n');
    fs.writeFileSync(group.file('data-key'), 'a data key of more than thirty-two bytes\n');
    await group.run(['license', 'keygen', '--out', group.file('authority')]);
    await group.run(['tls', 'init', '--out', group.file('tls'), '--replica', 'issuer=127.0.0.1']);
    return group;
  }

  file(name) {
    return path.join(this.folder, name);
  }

  /// A muster command that has to succeed, and its stdout. The provider of this process answers
  /// meanwhile.
  run(words, more = {}, input = '') {
    const env = { PATH: process.env.PATH, HOME: this.folder, ...more };
    const child = spawn(this.muster, words, { env });
    const [out, err] = [text(child.stdout), text(child.stderr)];
    child.stdin.on('error', () => {}).end(input);
    return new Promise((done, failed) => {
      child.once('error', failed);
      child.once('close', async (code) => {
        if (code === 0) done(await out);
        else failed(new Error(`muster ${words.join(' ')}: ${code}: ${await err}`));
      });
    });
  }

  async start(environment) {
    const code = (await this.run([
      'license', 'issue', '--key', this.file('authority.key'), '--expires', '2099-01-31T22:13:42Z',
    ])).trim();
    this.environment = {
      PATH: process.env.PATH,
      HOME: this.folder,
      LICENSE_KEY: code,
      ENTERPRISE_SECRET: 'the secret of the server itself',
      ACTIVATE_AUTH: 'true',
      AUTH_ROOT_TOKEN: ROOT.replaceAll(' ', '-'),
      ...environment,
    };
    this.members.forEach((member) => this.launch(member));
    for (const member of this.members) await this.waitReady(member);
  }

  launch(member) {
    const loopback = (port) => `127.0.0.1:${port}`;
    const words = [
      'serve',
      '--data', this.file(`data-${member.at}`),
      '--name', `r${member.at}`,
      '--grpc-listen', loopback(member.rpc),
      '--ops-listen', loopback(member.ops),
      '--peer-listen', loopback(member.peer),
      '--login-listen', loopback(member.login),
      '--initial-cluster', this.members.map((it) => `r${it.at}=${loopback(it.peer)}`).join(','),
      '--bootstrap-token-file', this.file('token'),
      '--data-key-file', this.file('data-key'),
      '--license-public-key', this.file('authority.pub'),
      '--issuer-ca', this.file('tls/api-ca.crt'),
      // What one says at its most talkative is looked through for secrets.
      '--log-level', member.at === 1 ? 'trace' : 'info',
      // Whoever begins at the last one has to hurry.
      '--login-lifetime', member.at === 2 ? '2s' : '3m',
    ];
    if (member.at === 2) {
      words.push('--tls-cert', this.file('tls/issuer/api.crt'), '--tls-key', this.file('tls/issuer/api.key'));
    }
    const log = fs.openSync(this.file(`log-${member.at}`), 'a');
    member.process = spawn(this.muster, words, { env: this.environment, stdio: ['ignore', log, log] });
    fs.closeSync(log);
  }

  async waitReady(member) {
    await until(`r${member.at} to be ready`, async () => {
      if (member.process.exitCode !== null) throw new Error(`r${member.at} ended with ${member.process.exitCode}`);
      try {
        return (await fetch(`http://127.0.0.1:${member.ops}/readyz`)).ok;
      } catch {
        return false;
      }
    });
  }

  /// Who leads, as soon as somebody does.
  leader() {
    return until('a leader', async () => {
      for (const member of this.members.filter((it) => it.process)) {
        try {
          if ((await fetch(`http://127.0.0.1:${member.ops}/leaderz`)).ok) return member;
        } catch { /* not yet */ }
      }
      return null;
    });
  }

  /// kill -9.
  async kill(member) {
    const ended = new Promise((done) => member.process.once('exit', done));
    member.process.kill('SIGKILL');
    await ended;
    member.process = null;
  }

  async restart(member) {
    this.launch(member);
    await this.waitReady(member);
  }

  callback(at) {
    return `http://127.0.0.1:${this.members[at].login}/authorization-code/callback`;
  }

  /// The variables of a person at a terminal who talks to that replica.
  person(name, at) {
    return {
      PACHD_ADDRESS: `grpc://127.0.0.1:${this.members[at].rpc}`,
      PACH_CONFIG: this.file(`config-${name}.json`),
    };
  }

  /// An administrator's command.
  async admin(words, input) {
    const who = this.person('root', 0);
    if (!fs.existsSync(who.PACH_CONFIG)) {
      await this.run(['config', 'set', 'context', 'it'], who, `{"pachd_address": "${who.PACHD_ADDRESS}"}`);
      await this.run(['config', 'set', 'active-context', 'it'], who);
      await this.run(['auth', 'use-auth-token'], who, `${this.environment.AUTH_ROOT_TOKEN}\n`);
    }
    return this.run(words, who, input);
  }

  /// `muster auth login` by somebody: the URL at once, the end of the command as a promise.
  async login(name, at, ...flags) {
    const who = this.person(name, at);
    await this.run(['config', 'set', 'context', 'it', '--overwrite'], who, `{"pachd_address": "${who.PACHD_ADDRESS}"}`);
    await this.run(['config', 'set', 'active-context', 'it'], who);
    const env = { PATH: process.env.PATH, HOME: this.folder, ...who };
    const child = spawn(this.muster, ['auth', 'login', '--no-browser', ...flags], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (said) => { stderr += said; });
    const ended = new Promise((done) => child.once('close', (code) => done({ code, stderr })));
    const lines = readline.createInterface({ input: child.stdout });
    const url = await new Promise((found, lost) => {
      lines.on('line', (line) => { if (line.startsWith('http')) found(line); });
      ended.then(() => lost(new Error(`no URL: ${stderr}`)));
    });
    return { url, ended, who };
  }

  async whoami(who) {
    return JSON.parse(await this.run(['auth', 'whoami', '-o', 'json'], who));
  }

  /// Who vouches for the issuer and for the one replica that encrypts.
  authority() {
    return fs.readFileSync(this.file('tls/api-ca.crt'));
  }

  /// One call of `auth_v2.API` at one replica; fails as gRPC does.
  async call(at, method, request) {
    const credentials = at === 2 ? grpc.credentials.createSsl(this.authority()) : grpc.credentials.createInsecure();
    const client = new this.Auth(`127.0.0.1:${this.members[at].rpc}`, credentials);
    try {
      return await new Promise((done, failed) => {
        client[method](request, (error, answer) => (error ? failed(error) : done(answer)));
      });
    } finally {
      client.close();
    }
  }

  logs() {
    return this.members.map((it) => fs.readFileSync(this.file(`log-${it.at}`), 'utf8'));
  }

  end(failed) {
    for (const member of this.members) member.process?.kill('SIGKILL');
    if (failed) {
      this.logs().forEach((log, at) => {
        console.log(`---- r${at} ----`);
        console.log(log.split('\n').slice(-40).join('\n'));
      });
    }
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
