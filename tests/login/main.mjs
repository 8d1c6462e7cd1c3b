// People sign in: main.mjs PATH-OF-MUSTER PATH-OF-PROTOS [--pictures FOLDER] [ONLY-THIS …]

import assert from 'node:assert/strict';
import fs from 'node:fs';
import https from 'node:https';

import { chromium } from 'playwright-core';

import { Issuer, SECRET } from './provider.mjs';
import { Balancer, Group, freePorts, until } from './replicas.mjs';

const [muster, protos, ...rest] = process.argv.slice(2);
const pictures = rest[0] === '--pictures' ? rest.splice(0, 2)[1] : null;

let group;
let issuer;
let browser;
let balancer;

/// The page that a person sees in the end.
class Person {
  static async come(name) {
    const person = new Person();
    person.name = name;
    person.context = await browser.newContext({ ignoreHTTPSErrors: true });
    person.page = await person.context.newPage();
    return person;
  }

  /// Signs in at the provider and agrees, as far as it asks.
  async signIn(url) {
    await this.page.goto(url);
    for (;;) {
      const login = this.page.locator('input[name=login]');
      const submit = this.page.locator('button[type=submit]');
      if (await login.count()) {
        await login.fill(this.name);
        await this.page.locator('input[name=password]').fill('any');
        await submit.click();
      } else if (this.page.url().startsWith(issuer.url) && (await submit.count())) {
        await submit.click();
      } else {
        return;
      }
      await this.page.waitForLoadState();
    }
  }

  title() {
    return this.page.locator('h1').innerText();
  }

  async picture(name) {
    if (pictures) await this.page.screenshot({ path: `${pictures}/${name}.png` });
  }

  leave() {
    return this.context.close();
  }
}

async function shows(person, title) {
  assert.equal(await person.title(), title, person.page.url());
}

/// Begins at one replica by the wire.
async function begin(at) {
  const begun = await group.call(at, 'GetOIDCLogin', {});
  return { url: begun.login_url, state: begun.state };
}

/// What `Authenticate` says no with.
async function refused(promise, text) {
  await assert.rejects(promise, (error) => {
    assert.ok(error.details?.includes(text), `${error.details} lacks ${text}`);
    return true;
  });
}

const scenarios = {
  async 'a person signs in by the command line, and groups arrive'() {
    const login = await group.login('alice', 0);
    const query = new URL(login.url).searchParams;
    assert.equal(query.get('code_challenge_method'), 'S256');
    assert.equal(query.get('redirect_uri'), balancer.url);
    assert.deepEqual([...query.keys()], [...query.keys()].sort());
    const alice = await Person.come('alice');
    await alice.signIn(login.url);
    await shows(alice, 'You are signed in');
    assert.match(await alice.page.locator('main').innerText(), /You are now logged in\. Go back to the terminal/);
    await alice.picture('signed-in');
    const ended = await login.ended;
    assert.equal(ended.code, 0, ended.stderr);
    const who = await group.whoami(login.who);
    assert.equal(who.username, 'user:alice@example.com');
    const days = (new Date(who.expiration) - Date.now()) / 86_400_000;
    assert.ok(days > 29.9 && days <= 30, who.expiration);
    assert.deepEqual((await group.run(['auth', 'get-groups'], login.who)).trim().split('\n').sort(), ['group:alice-friends', 'group:fleet']);
    await group.run(['auth', 'logout'], login.who);
    await assert.rejects(group.run(['auth', 'whoami'], login.who), /no authentication token/);
    await alice.leave();
  },

  async 'pages are guarded and repeat nothing that came in'() {
    const evil = `${group.callback(0)}?code=%3Cscript%3Ealert(1)%3C/script%3E&state=%3Cb%3Eevil%3C/b%3E`;
    const answer = await fetch(evil, { headers: { accept: 'text/html' } });
    const body = await answer.text();
    assert.equal(answer.status, 400);
    assert.ok(!body.includes('evil') && !body.includes('script'), body);
    const policy = answer.headers.get('content-security-policy');
    assert.match(policy, /default-src 'none'; style-src 'sha256-/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    const plain = await (await fetch(group.callback(0))).text();
    assert.equal(plain, 'invalid OIDC callback request: missing OIDC state token or authorization code\n');
    const someone = await Person.come('someone');
    const complaints = [];
    someone.page.on('console', (said) => complaints.push(said.text()));
    await someone.page.goto(evil);
    await shows(someone, 'This sign-in is over');
    await someone.picture('over');
    assert.deepEqual(complaints.filter((text) => /Content.Security|Refused/.test(text)), []);
    await someone.leave();
  },

  async 'pages are encrypted where the API is'() {
    const url = `https://127.0.0.1:${group.members[2].login}/authorization-code/callback`;
    const answer = await new Promise((done, failed) => {
      https.get(url, { ca: group.authority() }, done).on('error', failed);
    });
    answer.resume();
    assert.equal(answer.statusCode, 400);
  },

  async 'three replicas share one login, which gives one token'() {
    const { url, state } = await begin(0);
    const waiting = group.call(2, 'Authenticate', { oidc_state: state });
    balancer.to = 1;
    const bob = await Person.come('bob');
    await bob.signIn(url);
    await shows(bob, 'You are signed in');
    assert.match((await waiting).pach_token, /^[0-9a-f]{32}$/);
    await refused(group.call(0, 'Authenticate', { oidc_state: state }), 'OIDC state token expired');
    await bob.leave();
  },

  async 'who declines is not signed in, and the terminal hears of it'() {
    const login = await group.login('carol', 0);
    const carol = await Person.come('carol');
    await carol.page.goto(login.url);
    await carol.page.locator('a:has-text("Cancel")').click();
    await carol.page.waitForLoadState();
    await shows(carol, 'You are not signed in');
    await carol.picture('declined');
    const ended = await login.ended;
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /^authorization failed \(OIDC state token: "[\w-]{15}\.\.\.\/31"; .*\): authorization failed$/m);
    await carol.leave();
  },

  async 'no part of a state finds a login, and no other one'() {
    const { state } = await begin(0);
    for (const wrong of [state[0], '.', state.slice(0, 30), `${state}a`, 'A'.repeat(31)]) {
      const begun = Date.now();
      await refused(group.call(1, 'Authenticate', { oidc_state: wrong }), 'OIDC state token expired');
      assert.ok(Date.now() - begun < 10_000, 'it waited');
    }
    const answer = await fetch(`${group.callback(1)}?code=c&state=${'A'.repeat(31)}`);
    assert.equal(answer.status, 400);
  },

  async 'a login that takes too long is over'() {
    const { url, state } = await begin(2);
    await refused(group.call(0, 'Authenticate', { oidc_state: state }), 'OIDC state token expired');
    const late = await Person.come('late');
    await late.signIn(url);
    await shows(late, 'This sign-in is over');
    await late.leave();
  },

  async 'tokens that are not for this login, server or issuer are refused'() {
    const mallory = await Person.come('mallory');
    const stranger = (await import('jose')).generateSecret('HS256');
    const lies = {
      'another nonce': (claims) => issuer.sign({ ...claims, nonce: 'another' }),
      'no nonce': ({ nonce, ...claims }) => issuer.sign(claims),
      'another audience': (claims) => issuer.sign({ ...claims, aud: 'somebody-else' }),
      'another issuer': (claims) => issuer.sign({ ...claims, iss: 'https://elsewhere.example' }),
      'an old one': (claims) => issuer.sign({ ...claims, exp: 1_000_000_000 }),
      'a shared secret': async (claims) => issuer.sign(claims, { alg: 'HS256' }, new TextEncoder().encode(SECRET.padEnd(32))),
      'a stranger\'s': async (claims) => issuer.sign(claims, { alg: 'HS256' }, await stranger),
    };
    for (const [what, lie] of Object.entries(lies)) {
      issuer.tamper = lie;
      const { url, state } = await begin(0);
      await mallory.signIn(url);
      await shows(mallory, 'You are not signed in').catch((error) => { throw new Error(`${what}: ${error}`); });
      await refused(group.call(1, 'Authenticate', { oidc_state: state }), 'authorization failed');
    }
    issuer.tamper = null;
    await mallory.picture('refused');
    await mallory.leave();
  },

  async 'an address that nobody verified is refused where it must be'() {
    const configure = (more) => group.admin(['auth', 'set-config', '-f', '-'], yaml(issuer.configuration(balancer.url, more)));
    await configure({ require_email_verified: true });
    const before = await group.admin(['auth', 'get-config', '-o', 'yaml']);
    assert.match(before, /require_email_verified: true/);
    const { url, state } = await begin(0);
    const person = await Person.come('unverified');
    await person.signIn(url);
    await shows(person, 'Your e-mail address is not verified');
    await person.picture('unverified');
    await refused(group.call(0, 'Authenticate', { oidc_state: state }), 'authorization failed');
    const token = await issuer.sign({ email: 'x@example.com', email_verified: false });
    await refused(group.call(0, 'Authenticate', { id_token: token }), 'email_verified claim was false, and require_email_verified was set');
    await configure({});
    assert.match((await group.call(0, 'Authenticate', { id_token: token })).pach_token, /^[0-9a-f]{32}$/);
    await person.leave();
  },

  async 'ID tokens of trusted peers serve, and no longer than they last'() {
    const good = await issuer.sign({ email: 'dora@example.com', aud: ['testapp', 'muster'], azp: 'testapp', groups: ['g'], exp: Math.floor(Date.now() / 1000) + 300 });
    const who = group.person('dora', 1);
    await group.run(['config', 'set', 'context', 'it', '--overwrite'], who, `{"pachd_address": "${who.PACHD_ADDRESS}"}`);
    await group.run(['config', 'set', 'active-context', 'it'], who);
    await group.run(['auth', 'login', '--id-token'], who, `${good}\n`);
    const seen = await group.whoami(who);
    assert.equal(seen.username, 'user:dora@example.com');
    assert.ok(new Date(seen.expiration) - Date.now() <= 301_000, seen.expiration);
    assert.equal((await group.run(['auth', 'get-groups'], who)).trim(), 'group:g');
    const bad = async (claims, header, key) => group.call(1, 'Authenticate', { id_token: await issuer.sign(claims, header, key) });
    const email = 'e@example.com';
    await refused(bad({ email, aud: 'testapp' }), 'could not verify token: it is not for this server');
    await refused(bad({ email, exp: 1 }), 'could not verify token: it has expired');
    await refused(bad({}), 'could not get claims: there is no e-mail address');
    await refused(bad({ email, groups: { a: 1 } }), 'could not get claims: groups is no list of names');
    await refused(bad({ email: `${'x'.repeat(1100)}@example.com` }), 'principal is longer than');
    await refused(group.call(1, 'Authenticate', { id_token: 'not.a.token' }), 'could not verify token');
    await refused(group.call(1, 'Authenticate', { id_token: `${good.slice(0, -6)}AAAAAA` }), 'its signature is wrong');
    const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${good.split('.')[1]}.`;
    await refused(group.call(1, 'Authenticate', { id_token: unsigned }), 'could not verify token');
    await refused(group.call(1, 'Authenticate', {}), 'unrecognized authentication mechanism');
    await assert.rejects(group.run(['auth', 'login', '-t'], who, 'nonsense\n'), /authorization failed \(Pachyderm logs may contain more information\): could not verify token/);
  },

  async 'a provider that changes its keys is followed'() {
    const email = 'eve@example.com';
    const old = await issuer.sign({ email });
    await group.call(0, 'Authenticate', { id_token: old });
    await issuer.rotate();
    const renewed = await issuer.sign({ email });
    await until('the new key', () => group.call(0, 'Authenticate', { id_token: renewed }).catch((error) => {
      assert.match(error.details, /the issuer has no such key/);
      return null;
    }));
    await refused(group.call(0, 'Authenticate', { id_token: old }), 'the issuer has no such key');
  },

  async 'a provider that is away holds a login up and does not end it'() {
    const { url, state } = await begin(0);
    const frank = await Person.come('frank');
    balancer.holds = true;
    await frank.signIn(url);
    await shows(frank, 'held');
    balancer.reset();
    await issuer.stop();
    await frank.page.reload();
    await shows(frank, 'The identity provider does not answer');
    await frank.picture('provider-away');
    await refused(group.call(1, 'SetConfiguration', {}), 'no authentication token');
    await assert.rejects(
      group.admin(['auth', 'set-config', '-f', '-'], JSON.stringify(issuer.configuration(balancer.url))),
      /provided OIDC issuer does not implement OIDC protocol: the issuer does not answer/,
    );
    await issuer.start();
    const waiting = group.call(2, 'Authenticate', { oidc_state: state });
    await frank.page.reload();
    await shows(frank, 'You are signed in');
    await waiting;
    await frank.leave();
  },

  async 'the leader dies while a person is at the provider'() {
    const leader = await group.leader();
    const other = group.members.find((it) => it !== leader && it.at !== 2) ?? group.members[0];
    const login = await group.login('grace', other.at);
    await group.kill(leader);
    balancer.to = other.at;
    const grace = await Person.come('grace');
    await grace.signIn(login.url);
    balancer.reset();
    await shows(grace, 'You are signed in');
    const ended = await login.ended;
    assert.equal(ended.code, 0, ended.stderr);
    assert.equal((await group.whoami(login.who)).username, 'user:grace@example.com');
    await group.restart(leader);
    await grace.leave();
  },

  async 'another issuer than the one that was asked is not believed'() {
    const { url, state } = await begin(0);
    const heidi = await Person.come('heidi');
    balancer.change = (back) => back.searchParams.set('iss', 'https://elsewhere.example');
    await heidi.signIn(url);
    balancer.reset();
    await shows(heidi, 'You are not signed in');
    await refused(group.call(1, 'Authenticate', { oidc_state: state }), 'authorization failed');
    await heidi.leave();
  },

  async 'a configuration whose issuer is none is refused, and a wrong one in any part'() {
    const given = (more) => group.admin(['auth', 'set-config', '-f', '-'], JSON.stringify(issuer.configuration(balancer.url, more)));
    await assert.rejects(given({ issuer: `${issuer.url}/nowhere` }), /provided OIDC issuer does not implement OIDC protocol: it has no discovery document/);
    await assert.rejects(given({ issuer: `${issuer.url}/` }), /its discovery document names another issuer/);
    await assert.rejects(given({ issuer: 'nonsense' }), /OIDC issuer must be a valid URL/);
    await assert.rejects(given({ redirect_uri: 'nonsense' }), /OIDC redirect_uri must be a valid URL/);
    await assert.rejects(given({ client_id: '' }), /OIDC configuration must have a non-empty client_id/);
    const kept = JSON.parse(await group.admin(['auth', 'get-config']));
    assert.deepEqual(kept, issuer.configuration(balancer.url));
  },

  async 'no secret, state or code is in a log'() {
    const logs = group.logs().join('\n');
    assert.ok(balancer.codes.length > 5 && seen.length > 5);
    for (const secret of [SECRET, group.environment.AUTH_ROOT_TOKEN, ...seen, ...balancer.codes]) {
      const line = logs.split('\n').find((it) => it.includes(secret));
      assert.equal(line, undefined, 'a log holds a secret');
    }
    assert.match(logs, /a person came back from the provider/);
  },
};

/// States and tokens that went by.
const seen = [];

function yaml(configuration) {
  return Object.entries(configuration).map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`).join('');
}

async function main() {
  const begun = Date.now();
  if (pictures) fs.mkdirSync(pictures, { recursive: true });
  group = await Group.make(muster, protos);
  let failed = true;
  try {
    const [port, front] = await freePorts(14).then((ports) => ports.slice(12));
    balancer = new Balancer(front, group);
    await balancer.start();
    const tls = { cert: fs.readFileSync(group.file('tls/issuer/api.crt')), key: fs.readFileSync(group.file('tls/issuer/api.key')) };
    issuer = new Issuer(port, tls, [balancer.url]);
    await issuer.start();
    const { client_secret: secret, ...config } = issuer.configuration(balancer.url);
    await group.start({ AUTH_CONFIG: yaml(config), AUTH_CLIENT_SECRET: secret });
    await until('where people sign in', () => group.call(0, 'GetOIDCLogin', {}).catch(() => null));
    browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
    const call = group.call.bind(group);
    group.call = async (at, method, request) => {
      const answer = await call(at, method, request);
      if (answer.state) seen.push(answer.state);
      if (answer.pach_token) seen.push(answer.pach_token);
      return answer;
    };
    for (const [name, scenario] of Object.entries(scenarios)) {
      if (rest.length && !rest.some((word) => name.includes(word))) continue;
      const start = Date.now();
      try {
        await scenario();
      } catch (error) {
        console.log(`FAILED: ${name}`);
        throw error;
      }
      console.log(`ok: ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
    }
    failed = false;
  } finally {
    await browser?.close();
    balancer?.server.close();
    await issuer?.stop().catch(() => {});
    group.end(failed);
  }
  console.log(`people sign in at three replicas: ok, ${((Date.now() - begun) / 1000).toFixed(0)} s`);
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
