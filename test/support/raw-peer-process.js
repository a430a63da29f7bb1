// One end of scripted connections: does what its parent orders over IPC, one answer per order. Plain JavaScript, so
// that it starts fast. A connection reads nothing that was not asked for only if it is told to be `deaf`.
import { once } from 'node:events';
import { createServer, Socket } from 'node:net';

const connections = new Map();
const accepted = new Map(); // by the port of the other end
const awaited = new Map();
let nextId = 1;

function adopt(socket) {
  const connection = {
    id: nextId++,
    socket,
    chunks: [],
    length: 0,
    received: 0,
    over: undefined,
    look: () => {},
  };
  connections.set(connection.id, connection);
  socket.setNoDelay(true);
  socket.on('data', (chunk) => {
    connection.chunks.push(chunk);
    connection.length += chunk.length;
    connection.received += chunk.length;
    connection.look();
  });
  const over = (how) => {
    connection.over ??= how;
    connection.look();
  };
  socket.on('end', () => over('end'));
  socket.on('error', (error) => over(error.code));
  socket.on('close', () => over('closed'));
  return connection;
}

/** Waits until `found()` is something. */
function until(connection, found) {
  return new Promise((resolve, reject) => {
    connection.look = () => {
      const value = found();
      if (value === undefined) return;
      connection.look = () => {};
      resolve(value);
    };
    connection.look();
    connection.reject = reject;
  });
}

function take(connection, length) {
  const all = Buffer.concat(connection.chunks);
  connection.chunks = length < all.length ? [all.subarray(length)] : [];
  connection.length = all.length - length;
  return all.subarray(0, length);
}

function writing(socket, bytes) {
  return new Promise((resolve, reject) =>
    socket.write(bytes, (error) => (error ? reject(error) : resolve())),
  );
}

const orders = {
  async listen({ host, port }) {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      const connection = adopt(socket);
      const waiting = awaited.get(socket.remotePort);
      if (waiting) waiting(connection.id);
      else accepted.set(socket.remotePort, connection.id);
      awaited.delete(socket.remotePort);
    });
    server.listen(port, host);
    await once(server, 'listening');
    return server.address().port;
  },
  /** The connection that comes from that port. */
  accept({ from }) {
    const id = accepted.get(from);
    accepted.delete(from);
    return id ?? new Promise((resolve) => awaited.set(from, resolve));
  },
  /** Begins to connect. */
  open({ host, port }) {
    const socket = new Socket({ allowHalfOpen: true });
    const connection = adopt(socket);
    socket.connect({ host, port, autoSelectFamily: false });
    return connection.id;
  },
  async connected({ id }) {
    const connection = connections.get(id);
    const { socket } = connection;
    if (socket.connecting) await Promise.race([once(socket, 'connect'), once(socket, 'close')]);
    if (connection.over) throw Object.assign(new Error(connection.over), { code: connection.over });
    return socket.localPort;
  },
  write({ id, bytes }) {
    return writing(connections.get(id).socket, bytes);
  },
  async pour({ id, length }) {
    const { socket } = connections.get(id);
    const piece = Buffer.alloc(65_536, 'x');
    for (let left = length; left > 0; left -= piece.length) await writing(socket, piece.subarray(0, left));
  },
  async read({ id, length }) {
    const connection = connections.get(id);
    await until(connection, () => (connection.length >= length ? true : connection.over));
    if (connection.length < length)
      throw new Error(`ended (${connection.over}) ${length - connection.length} bytes early`);
    return take(connection, length);
  },
  async drain({ id, length }) {
    const connection = connections.get(id);
    for (let left = length; left > 0; ) {
      await until(connection, () => (connection.length ? true : connection.over));
      if (!connection.length) throw new Error(`ended (${connection.over}) ${left} bytes early`);
      left -= take(connection, Math.min(left, connection.length)).length;
    }
  },
  deaf({ id }) {
    const { socket } = connections.get(id);
    socket.pause();
    socket._handle.readStop(); // pause() alone reads on until a buffer is full
  },
  /** `end` for the other end's FIN, `closed`, or the code of an error. */
  over({ id }) {
    const connection = connections.get(id);
    return until(connection, () => connection.over);
  },
  end({ id }) {
    const { socket } = connections.get(id);
    return new Promise((resolve) => socket.end(resolve));
  },
  async destroy({ id }) {
    const { socket } = connections.get(id);
    if (socket.closed) return;
    socket.destroy();
    await once(socket, 'close');
  },
  async reset({ id }) {
    const { socket } = connections.get(id);
    socket.resetAndDestroy();
    await once(socket, 'close');
  },
  /** TCP_USER_TIMEOUT of tcp(7), milliseconds: how long sent data may stay unacknowledged. */
  async userTimeout({ id, milliseconds }) {
    const { default: koffi } = await import('koffi');
    const setsockopt = koffi
      .load('libc.so.6')
      .func('int setsockopt(int, int, int, const int *value, uint32_t)');
    const [IPPROTO_TCP, TCP_USER_TIMEOUT] = [6, 18];
    if (
      setsockopt(connections.get(id).socket._handle.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, [milliseconds], 4) !==
      0
    )
      throw new Error('setsockopt TCP_USER_TIMEOUT failed');
  },
};

process.on('message', async ({ number, order, ...details }) => {
  try {
    process.send({ number, result: await orders[order](details) });
  } catch (error) {
    process.send({ number, error: { message: error.message, code: error.code } });
  }
});
process.on('disconnect', () => process.exit());
