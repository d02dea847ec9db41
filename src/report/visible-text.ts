/**
 * What cannot be seen, shown: control characters, and those that turn the direction of text around,
 * which would show a command that is not the one that is pasted.
 */
export function visible(text: string): string {
  return text.replace(
    /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}]/gu,
    (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`,
  );
}
