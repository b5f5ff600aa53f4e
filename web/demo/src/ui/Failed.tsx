// When something broke that must not: what to do, instead of an empty page.

import { Component, type ComponentChildren } from 'preact';

export class ErrorBoundary extends Component<{ children: ComponentChildren }, { error?: unknown }> {
  override state: { error?: unknown } = {};

  override componentDidCatch(error: unknown) {
    console.error(error);
    this.setState({ error });
  }

  override render() {
    return 'error' in this.state ? <Failed error={this.state.error} /> : this.props.children;
  }
}

export function Failed({ error }: { error: unknown }) {
  return (
    <main class="instead whole">
      <img src="icon.svg" alt="" width="48" height="48" />
      <h1>Something broke</h1>
      <p>Your lists are kept on this device. Loading the page again should bring them back.</p>
      <p>
        <button type="button" class="main" onClick={() => location.reload()}>
          Reload
        </button>
      </p>
      <details>
        <summary>What happened</summary>
        <p>
          <code>{String(error)}</code>
        </p>
      </details>
    </main>
  );
}
