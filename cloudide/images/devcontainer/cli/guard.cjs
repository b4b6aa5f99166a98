'use strict';

// Loaded before the reference CLI. What it reads is a stranger's, so it gets an empty environment
// (`localEnv` would read the server's), a home and a folder for temporary files of its own, and
// connections to the registries of features alone: a feature may name any address.

const net = require('node:net');
const os = require('node:os');

const scratch = process.env.CLOUDIDE_SCRATCH;
const allowed = (process.env.CLOUDIDE_REGISTRIES ?? '').split(',').filter(Boolean);
for (const name of Object.keys(process.env)) delete process.env[name];

os.homedir = () => scratch;
os.tmpdir = () => scratch;

function isAllowed(host) {
  return allowed.some((each) => (each.startsWith('*.') ? host.endsWith(each.slice(1)) : host === each));
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...given) {
  // Node itself passes on what it has put in order, as one list.
  const options = Array.isArray(given[0]) ? given[0][0] : given[0];
  const host = options !== null && typeof options === 'object' ? options.host : undefined;
  if (typeof host !== 'string' || options.path || Number(options.port) !== 443 || !isAllowed(host)) {
    const where = typeof host === 'string' ? `${host}:${options.port}` : 'an unknown address';
    process.nextTick(() => this.destroy(new Error(`CLOUDIDE_REFUSED ${where}`)));
    return this;
  }
  return connect.apply(this, given);
};
