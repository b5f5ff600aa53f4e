/**
 * The names of the emoji that people compare, apart from the core: few apps write them out.
 *
 * @module connectoid/emoji
 */

import { type Sas, SYMBOLS } from './seal/transcript.js';

/**
 * The seven emoji of a string by their English names in the Matrix specification's table, `Dog` for 🐶: for two who compare them by
 * voice. For who cannot see emoji there is no need of it: screen readers name them by themselves, in the user's own language.
 */
export function emojiNames(sas: Sas): string[] {
  return sas.emoji.map(symbol => NAMES[SYMBOLS.indexOf(symbol)] ?? symbol);
}

const NAMES = (
  'Dog Cat Lion Horse Unicorn Pig Elephant Rabbit Panda Rooster Penguin Turtle Fish Octopus Butterfly Flower ' +
  'Tree Cactus Mushroom Globe Moon Cloud Fire Banana Apple Strawberry Corn Pizza Cake Heart Smiley Robot ' +
  'Hat Glasses Spanner Santa ThumbsUp Umbrella Hourglass Clock Gift LightBulb Book Pencil Paperclip Scissors Lock Key ' +
  'Hammer Telephone Flag Train Bicycle Aeroplane Rocket Trophy Ball Guitar Trumpet Bell Anchor Headphones Folder Pin'
).split(' ');
