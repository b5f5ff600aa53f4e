// A disk that may fail.

import { IDBFactory } from 'fake-indexeddb';

/** A factory whose writes fail as long as `fails` is set, and which counts them. */
export function frail() {
  const inner = new IDBFactory();
  const disk = {
    fails: false,
    writes: 0,
    /** The most that were under way at a time. */
    most: 0,
    open(name, version) {
      const request = inner.open(name, version);
      const proxy = { transaction: null };
      for (const type of ['upgradeneeded', 'success', 'error']) {
        request[`on${type}`] = event => {
          proxy.result = type === 'error' ? undefined : database(request.result);
          proxy.error = request.error;
          proxy.transaction = request.transaction;
          proxy[`on${type}`]?.(event);
        };
      }
      return proxy;
    },
  };
  let underWay = 0;
  function database(real) {
    return {
      createObjectStore: (...args) => real.createObjectStore(...args),
      close: () => real.close(),
      transaction(stores, mode) {
        if (mode === 'readwrite') {
          disk.writes += 1;
          underWay += 1;
          disk.most = Math.max(disk.most, underWay);
        }
        const transaction = real.transaction(stores, mode);
        const done = () => {
          underWay -= mode === 'readwrite' ? 1 : 0;
        };
        transaction.addEventListener('complete', done);
        transaction.addEventListener('abort', done);
        if (disk.fails && mode === 'readwrite') {
          setImmediate(() => transaction.abort());
        }
        return transaction;
      },
    };
  }
  return disk;
}
