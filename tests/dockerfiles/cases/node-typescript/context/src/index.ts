import ms from 'ms';

const text: string = `compiled: ${ms('1.5m')}`;
console.log(text);
