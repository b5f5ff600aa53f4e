// The names of contacts, `<id of the list>/<name>`: who a list is shared with is read off them, and there is no second register.

/** The list and the person that the name of a contact is made of. */
export function split(contact: string): [list: string, name: string] {
  const at = contact.indexOf('/');
  return at < 0 ? ['', contact] : [contact.slice(0, at), contact.slice(at + 1)];
}
