"""Mel-frequency cepstra of made-up speech, as keyword spotters of MLPerf Tiny read them."""

import numpy as np

RATE, FRAME, HOP, FFT = 16000, 480, 320, 512
MELS, COEFFICIENTS, LOWEST, HIGHEST = 40, 10, 20.0, 4000.0


def cepstrum(rng):
    """Ten coefficients of each of the 49 frames of a second of made-up speech, float32."""
    sound = speech(rng)
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP] * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames, FFT))
    levels = np.log(power @ _mel_filters().T + 1e-6)
    k, n = np.arange(COEFFICIENTS)[:, None], np.arange(MELS)
    basis = np.cos(np.pi * k * (n + 0.5) / MELS) * np.sqrt(2 / MELS)
    return (levels @ basis.T).astype(np.float32)


def speech(rng):
    """A second of a voice: harmonics of a gliding pitch below three gliding formants, in syllables, and noise."""
    t = np.arange(RATE) / RATE
    pitch = rng.uniform(90, 240) * (1 + rng.uniform(-0.2, 0.2) * t)
    phase, formants = 2 * np.pi * np.cumsum(pitch) / RATE, np.sort(rng.uniform(300, 3200, (3, 2)), axis=0)
    sound = np.zeros(RATE)
    for i in range(1, 20):
        centers = formants[:, :1] + (formants[:, 1:] - formants[:, :1]) * t
        sound += np.exp(-(((i * pitch - centers) / 180) ** 2)).sum(axis=0) * np.sin(i * phase)
    start, length = rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.5)
    syllables = np.where(abs(t - start - length / 2) < length / 2, abs(np.sin(np.pi * (t - start) / length)) ** 0.5, 0)
    noise = rng.normal(size=RATE) * 10 ** rng.uniform(-4, -2)
    return sound * syllables * rng.uniform(0.05, 0.4) + noise


def _mel_filters():
    """Triangles that are evenly spaced in mel, (mels, bins of a spectrum)."""
    low, high = (1127 * np.log1p(f / 700) for f in (LOWEST, HIGHEST))
    edges = np.linspace(low, high, MELS + 2)
    bins = 1127 * np.log1p(np.fft.rfftfreq(FFT, 1 / RATE) / 700)
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(up, down))
