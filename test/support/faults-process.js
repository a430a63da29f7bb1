/**
 * A client with bad manners: connects where nobody listens, resets connections in the middle of a request, and looks up
 * names that do not exist. Told the port of a server, it says on standard output how often it did what, after each time.
 */
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns';
import { connect } from 'node:net';

const port = Number(process.argv[2]);
/** Reserved for a service that nobody runs ("discard"). */
const NOBODY = 9;
const done = { refused: 0, reset: 0 };
const count = (what) => {
  done[what]++;
  process.stdout.write(`${JSON.stringify(done)}\n`);
};

setInterval(() => connect(NOBODY, '127.0.0.1').on('error', () => count('refused')), 200);
setInterval(() => {
  const socket = connect(port, '127.0.0.1', () => {
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n', () => {
      // The server is given the time to read, but not to answer.
      setTimeout(() => {
        socket.resetAndDestroy();
        count('reset');
      }, 1);
    });
  });
  socket.on('error', () => {});
}, 300);

/** A server of DNS that knows no name: an answer is the query with two bytes changed. */
const dns = createSocket('udp4');
dns.on('message', (query, { address, port }) => {
  query.writeUInt16BE(0x8183, 2); // response, recursion, NXDOMAIN
  dns.send(query, port, address);
});
dns.bind(53, '127.0.0.1', () => {
  const resolver = new Resolver();
  resolver.setServers(['127.0.0.1']);
  setInterval(() => resolver.resolve4('nobody.test', () => {}), 300);
});
