// The process behind `DatagramPeer`: sends and receives the datagrams it is told to.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';

const sockets = [];

const orders = {
  async open({ host, port, to }) {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const waiting = [];
    const arrived = [];
    socket.on('message', (bytes, { address, port }) => {
      const datagram = { bytes, host: address, port };
      const next = waiting.shift();
      if (next) next(datagram);
      else arrived.push(datagram);
    });
    socket.bind(port, host);
    await once(socket, 'listening');
    if (to) {
      socket.connect(to.port, to.host);
      await once(socket, 'connect');
    }
    socket.receive = () =>
      arrived.length > 0 ? arrived.shift() : new Promise((resolve) => waiting.push(resolve));
    return { id: sockets.push(socket) - 1, port: socket.address().port };
  },
  send({ id, bytes, to }) {
    const address = to ? [to.port, to.host] : [];
    return new Promise((resolve, reject) =>
      sockets[id].send(bytes, ...address, (error) => (error ? reject(error) : resolve())),
    );
  },
  receive: ({ id }) => sockets[id].receive(),
  close({ id }) {
    sockets[id].close();
  },
};

process.on('message', async ({ number, order, ...details }) => {
  try {
    process.send({ number, result: await orders[order](details) });
  } catch ({ message, code }) {
    process.send({ number, error: { message, code } });
  }
});
process.on('disconnect', () => process.exit());
