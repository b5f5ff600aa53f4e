// Calls of the client, and whether what they changed is stored.

import { type Client, ConnectoidError } from '../../src/index.js';

/** How often what could not be stored is tried again. Milliseconds. */
const TRY_EVERY = 5000;

export type Calls = ReturnType<typeof callsOf>;

/** `refresh` is called after each. None is made unless `client` runs the contacts, and nothing was closed. */
export function callsOf(client: Client, refresh: () => void) {
  let timer: ReturnType<typeof setInterval> | undefined;
  let isDeleted = false;
  let isClosed = false;

  /** Something was stored, and so all that waited for it was. */
  function stored(): void {
    clearInterval(timer);
    timer = undefined;
  }

  /** Something failed. Any call has the library try again what it could not store; one that changes nothing will do. */
  function failed(error: unknown): void {
    isDeleted ||= isError(error, 'deleted');
    if (isError(error, 'storage') && !isClosed) {
      timer ??= setInterval(() => {
        const [contact] = client.contacts;
        if (contact) {
          call(() => client.rename(contact.name, contact.name)).catch(() => {});
        }
      }, TRY_EVERY);
    }
  }

  function needActive(): void {
    if (isDeleted) {
      throw new ConnectoidError('deleted', 'the data of the site were deleted: load the page again');
    }
    if (isClosed || !client.active) {
      throw new ConnectoidError('inactive', 'another tab runs the app');
    }
  }

  /** A call, whose effect is seen at once. What it stores shows that it can store. */
  async function call<T>(does: () => Promise<T>): Promise<T> {
    needActive();
    try {
      const result = await does();
      stored();
      return result;
    } catch (error) {
      failed(error);
      throw error;
    } finally {
      refresh();
    }
  }

  return {
    call,
    needActive,
    stored,
    failed,
    isNotStored: () => timer !== undefined,
    isDeleted: () => isDeleted,
    close(): void {
      isClosed = true;
      stored();
    },
  };
}

export function isError(error: unknown, code: ConnectoidError['code']): boolean {
  return error instanceof ConnectoidError && error.code === code;
}
