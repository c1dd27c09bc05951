package healthcheck

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
)

// maxIterations bounds the work that a key file can ask for, ten times what openssl writes at most.
const maxIterations = 10_000_000

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	// errWrongPassword is what a wrong password, or a damaged key, looks like.
	errWrongPassword = errors.New("wrong password, or a damaged key")
)

// cbcCiphers are the ciphers of PBES2 by object identifier: bytes of the key, and how to make one.
var cbcCiphers = map[string]struct {
	size int
	make func([]byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2": {16, aes.NewCipher}, "2.16.840.1.101.3.4.1.22": {24, aes.NewCipher}, "2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7": {24, des.NewTripleDESCipher},
}

// hmacHashes are the pseudo-random functions of PBKDF2 by object identifier.
var hmacHashes = map[string]func() hash.Hash{
	"1.2.840.113549.2.7": sha1.New, "1.2.840.113549.2.8": sha256.New224, "1.2.840.113549.2.9": sha256.New, "1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// decryptPKCS8 opens an EncryptedPrivateKeyInfo (RFC 5958 section 3) in the encryption of RFC 8018 section 6.2, PBES2 with PBKDF2 and a
// cipher in CBC mode: what openssl and certtool write. It returns the PrivateKeyInfo.
func decryptPKCS8(der, password []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, errors.New("no encrypted PKCS #8 key")
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("PKCS #8 encryption %s is too old; convert the key with: openssl pkcs8 -topk8", info.Algorithm.Algorithm)
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, fmt.Errorf("PKCS #8 encryption: %w", err)
	}
	c, ok := cbcCiphers[scheme.Cipher.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("PKCS #8 cipher %s is not known", scheme.Cipher.Algorithm)
	}
	key, err := deriveKey(scheme.KDF, password, c.size)
	if err != nil {
		return nil, err
	}
	block, err := c.make(key)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != block.BlockSize() {
		return nil, errors.New("PKCS #8 encryption: no initialization vector of the right length")
	}
	n := len(info.Data)
	if n == 0 || n%block.BlockSize() != 0 {
		return nil, errWrongPassword
	}
	out := make([]byte, n)
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, info.Data)
	pad := int(out[n-1])
	if pad == 0 || pad > block.BlockSize() {
		return nil, errWrongPassword
	}
	for _, b := range out[n-pad:] {
		if int(b) != pad {
			return nil, errWrongPassword
		}
	}
	if out = out[:n-pad]; !isPrivateKey(out) {
		return nil, errWrongPassword
	}
	return out, nil
}

func isPrivateKey(der []byte) bool {
	_, err := x509.ParsePKCS8PrivateKey(der)
	return err == nil
}

// deriveKey is PBKDF2 (RFC 8018 section 5.2) with the parameters of a key file.
func deriveKey(kdf pkix.AlgorithmIdentifier, password []byte, size int) ([]byte, error) {
	if !kdf.Algorithm.Equal(oidPBKDF2) {
		return nil, fmt.Errorf("PKCS #8 key derivation %s is not known, only PBKDF2", kdf.Algorithm)
	}
	var p struct {
		Salt       []byte
		Iterations int
		Length     int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
		return nil, fmt.Errorf("PBKDF2: %w", err)
	}
	if p.Iterations < 1 || p.Iterations > maxIterations {
		return nil, fmt.Errorf("PBKDF2 with %d iterations", p.Iterations)
	}
	prf := sha1.New // the default of the RFC
	if len(p.PRF.Algorithm) > 0 {
		if prf = hmacHashes[p.PRF.Algorithm.String()]; prf == nil {
			return nil, fmt.Errorf("PBKDF2 with %s is not known", p.PRF.Algorithm)
		}
	}
	return pbkdf2.Key(prf, string(password), p.Salt, p.Iterations, size)
}
