/** How sealed bytes look. It means as little to the relay as to a screen reader. */
export function Begins({ with: begins }: { with: string }) {
  return (
    <code class="relay-bytes" aria-hidden="true">
      {begins}…
    </code>
  );
}
