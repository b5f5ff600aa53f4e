/**
 * The emoji that people compare, and their names. Apart from the core: an app may compare numbers.
 *
 * @module connectoid/emoji
 */

import type { Sas } from './seal/transcript.js';

/** The string as seven emoji of the Matrix specification's table. Screen readers name them by themselves, in the user's own language. */
export function emoji(sas: Sas): string[] {
  return places(sas).map(place => SYMBOLS[place] ?? '');
}

/** The same seven by their English names in that table, `Dog` for 🐶: for two who compare them by voice. */
export function emojiNames(sas: Sas): string[] {
  return places(sas).map(place => NAMES[place] ?? '');
}

/** Seven times 6 bits, from the first on. */
function places({ bytes }: Sas): number[] {
  const bits = [...bytes].map(byte => byte.toString(2).padStart(8, '0')).join('');
  return [0, 1, 2, 3, 4, 5, 6].map(i => Number.parseInt(bits.slice(i * 6, i * 6 + 6), 2));
}

/** The table of the Matrix specification (client-server API, "SAS method: emoji"), in its order. */
const SYMBOLS = (
  '🐶 🐱 🦁 🐎 🦄 🐷 🐘 🐰 🐼 🐓 🐧 🐢 🐟 🐙 🦋 🌷 🌳 🌵 🍄 🌏 🌙 ☁️ 🔥 🍌 🍎 🍓 🌽 🍕 🎂 ❤️ 😀 🤖 ' +
  '🎩 👓 🔧 🎅 👍 ☂️ ⌛ ⏰ 🎁 💡 📕 ✏️ 📎 ✂️ 🔒 🔑 🔨 ☎️ 🏁 🚂 🚲 ✈️ 🚀 🏆 ⚽ 🎸 🎺 🔔 ⚓ 🎧 📁 📌'
).split(' ');

const NAMES = (
  'Dog Cat Lion Horse Unicorn Pig Elephant Rabbit Panda Rooster Penguin Turtle Fish Octopus Butterfly Flower ' +
  'Tree Cactus Mushroom Globe Moon Cloud Fire Banana Apple Strawberry Corn Pizza Cake Heart Smiley Robot ' +
  'Hat Glasses Spanner Santa ThumbsUp Umbrella Hourglass Clock Gift LightBulb Book Pencil Paperclip Scissors Lock Key ' +
  'Hammer Telephone Flag Train Bicycle Aeroplane Rocket Trophy Ball Guitar Trumpet Bell Anchor Headphones Folder Pin'
).split(' ');
