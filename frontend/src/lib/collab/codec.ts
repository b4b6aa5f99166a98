/**
 * The bytes of a collaboration socket: one message a frame, each starting with its type.
 *
 *   00 00 <state vector>   sync step 1: "this is what I have"
 *   00 01 <update>         sync step 2: "this is what you lack"
 *   00 02 <update>         an edit
 *   01 <awareness update>  who is here, and their cursors
 *   02 00 <reason>         permission denied
 *   03                     asks for everybody's awareness
 *   40 <JSON string>       our control messages: hello, ack, disk, moved, notice
 *
 * Types 0-3 are y-websocket's (y-protocols/PROTOCOL.md); 64 exists only under the subprotocol
 * cloudide.collab.v1. Steps 2 and edits that this side sends are counted, because the server
 * acknowledges them by number.
 */
import * as decoding from 'lib0/decoding';
import * as encoding from 'lib0/encoding';
import type { CollabControl } from '../protocol';

export const MessageType = { sync: 0, awareness: 1, auth: 2, queryAwareness: 3, control: 64 };
export const SyncType = { step1: 0, step2: 1, update: 2 };

export type Message =
  | { type: 'step1'; stateVector: Uint8Array }
  | { type: 'step2'; update: Uint8Array }
  | { type: 'update'; update: Uint8Array }
  | { type: 'awareness'; update: Uint8Array }
  | { type: 'denied'; reason: string }
  | { type: 'queryAwareness' }
  | { type: 'control'; control: CollabControl };

/** Reads one frame; null for a type this client does not know. Raises on a truncated frame. */
export function decode(frame: Uint8Array): Message | null {
  const decoder = decoding.createDecoder(frame);
  switch (decoding.readVarUint(decoder)) {
    case MessageType.sync:
      return decodeSync(decoder);
    case MessageType.awareness:
      return { type: 'awareness', update: decoding.readVarUint8Array(decoder) };
    case MessageType.auth:
      decoding.readVarUint(decoder);
      return { type: 'denied', reason: decoding.readVarString(decoder) };
    case MessageType.queryAwareness:
      return { type: 'queryAwareness' };
    case MessageType.control:
      return {
        type: 'control',
        control: JSON.parse(decoding.readVarString(decoder)) as CollabControl,
      };
    default:
      return null;
  }
}

function decodeSync(decoder: decoding.Decoder): Message | null {
  const type = decoding.readVarUint(decoder);
  const bytes = decoding.readVarUint8Array(decoder);
  if (type === SyncType.step1) return { type: 'step1', stateVector: bytes };
  if (type === SyncType.step2) return { type: 'step2', update: bytes };
  if (type === SyncType.update) return { type: 'update', update: bytes };
  return null;
}

export function encodeSync(type: keyof typeof SyncType, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, MessageType.sync);
  encoding.writeVarUint(encoder, SyncType[type]);
  encoding.writeVarUint8Array(encoder, bytes);
  return encoding.toUint8Array(encoder);
}

export function encodeAwareness(update: Uint8Array): Uint8Array<ArrayBuffer> {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, MessageType.awareness);
  encoding.writeVarUint8Array(encoder, update);
  return encoding.toUint8Array(encoder);
}

export function encodeControl(control: CollabControl): Uint8Array<ArrayBuffer> {
  const encoder = encoding.createEncoder();
  encoding.writeVarUint(encoder, MessageType.control);
  encoding.writeVarString(encoder, JSON.stringify(control));
  return encoding.toUint8Array(encoder);
}
